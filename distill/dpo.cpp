// Two passes over the labelled tokens: the first sums log probabilities, from which follows how
// strongly each answer pulls,
//   d loss / d log p(chosen) = -beta sigmoid(-margin) / pairs,  of the rejected one the opposite,
// the second carries the gradient of each token's cross-entropy, times that, through the head.
#include "distill/dpo.h"

#include "distill/head_product.h"
#include "distill/logits.h"

namespace sterna::distill {
namespace {

Tensor rows_of(const Tensor& hidden, const Tensor& index) {
  return hidden.detach().reshape({-1, hidden.size(2)}).index_select(0, index);
}

/// bool [B / 2]: pairs that count.
Tensor whole_pairs(const Tensor& labels) {
  TORCH_CHECK(labels.dim() == 2 && labels.size(0) % 2 == 0,
              "dpo: expected labels [B, T] of pairs, got ",
              labels.sizes());
  return (labels >= 0).any(1).view({-1, 2}).all(1);
}

/// The labelled tokens of a micro-batch, [N].
struct Tokens {
  Tensor index;   // into [B T]
  Tensor row;     // answer
  Tensor labels;  // word
};

Tokens tokens_of(const Tensor& labels) {
  const Tensor flat = labels.reshape(-1);
  const Tensor index = (flat >= 0).nonzero().squeeze(1);
  return {index, index.div(labels.size(1), "floor"), flat.index_select(0, index)};
}

/// Tokens, all of them, through one model's head, some at a time.
class Heads {
 public:
  Heads(const Tensor& hidden, const Tensor& head, const Tensor& labels, int64_t step)
      : hidden_(hidden),
        head_(head.detach()),
        labels_(labels),
        buffer_(at::empty({step, head.size(0)}, head.options().requires_grad(false))) {}

  Logits logits(int64_t begin, int64_t count) const {
    Logits some{buffer_.narrow(0, 0, count), Tensor(), labels_.narrow(0, begin, count)};
    logits_into(some.student, hidden_.narrow(0, begin, count), head_);
    return some;
  }

  /// fp64 [N, kFigures]
  Tensor figures() const {
    std::vector<Tensor> tables;
    const int64_t step = buffer_.size(0);
    for (int64_t begin = 0; begin < labels_.size(0); begin += step)
      tables.push_back(logit_figures(logits(begin, std::min(step, labels_.size(0) - begin))).table);
    return at::cat(tables);
  }

 private:
  Tensor hidden_, head_, labels_, buffer_;
};

/// Sums over the tokens of each answer. @return  fp64 [B]
Tensor per_answer(const Tensor& each, const Tokens& tokens, int64_t answers) {
  return at::zeros({answers}, each.options()).index_add(0, tokens.row, each);
}

}  // namespace

Dpo::Dpo(recipes::Section kd) : wanted_(kd.has("dpo")) {
  // Read where it stands only: what is read stands in the resolved recipe.
  if (wanted_)
    config_ = kd.sub("dpo").read<Config>();
}

std::vector<recipes::Field> dpo_fields() {
  return recipes::list_fields<Dpo::Config>();
}

double Dpo::pairs(const Tensor& labels) const {
  return labels.numel() == 0 ? 0.0 : whole_pairs(labels).sum().item<double>();
}

Tensor Dpo::run(
    const HeadInputs& in, double total, int64_t chunk, Tensor& d_hidden, Tensor& head_grad) const {
  TORCH_CHECK(in.teacher_hidden.defined() && in.teacher_head.defined(),
              "dpo: the reference's hidden states and head are needed");
  const auto device = in.student_hidden.device();
  Tensor sums = at::zeros({3}, at::TensorOptions(device).dtype(at::kDouble));
  const Tensor labels = in.labels.to(device);
  const Tokens tokens = tokens_of(labels);
  const int64_t count = tokens.index.size(0);
  if (count == 0 || total == 0)
    return sums;
  const int64_t most = std::min(
      affordable_tokens(in.student_head.size(0), in.student_head.element_size()), kManyTokens);
  const int64_t step = std::min(chunk > 0 ? chunk : most, count);
  const Tensor hidden = rows_of(in.student_hidden, tokens.index);
  const Tensor reference_ce =
      LogitFigures{
          Heads(rows_of(in.teacher_hidden, tokens.index), in.teacher_head, tokens.labels, step)
              .figures()}
          .label_ce();
  const Heads student(hidden, in.student_head, tokens.labels, step);
  const LogitFigures figures{student.figures()};

  // Cross-entropies are negative log probabilities.
  const Tensor gained = per_answer(reference_ce - figures.label_ce(), tokens, labels.size(0));
  const Tensor pairs = gained.view({-1, 2});
  const Tensor whole = whole_pairs(labels).to(at::kDouble);
  const Tensor margin = config_.beta * (pairs.select(1, 0) - pairs.select(1, 1));
  sums[0].copy_((whole * at::softplus(-margin)).sum());
  sums[1].copy_((whole * margin).sum());
  sums[2].copy_((whole * (margin > 0)).sum());

  const Tensor pull = whole * config_.beta * at::sigmoid(-margin) * (config_.weight / total);
  const Tensor strength = at::stack({pull, -pull}, 1).view(-1).index_select(0, tokens.row);
  Tensor flat_d = d_hidden.view({-1, d_hidden.size(2)});
  for (int64_t begin = 0; begin < count; begin += step) {
    const int64_t some = std::min(step, count - begin);
    Logits logits = student.logits(begin, some);
    const Tensor of_label = strength.narrow(0, begin, some).to(at::kFloat).unsqueeze(1);
    const Tensor coefficients = at::constant_pad_nd(of_label, {1, 2}).contiguous();
    logits_to_gradient_(
        logits, {{View{}, LogitFigures{figures.table.narrow(0, begin, some)}, coefficients}});
    const Tensor d = at::mm(logits.student, in.student_head.detach());
    flat_d.index_add_(0, tokens.index.narrow(0, begin, some), d.to(flat_d.scalar_type()));
    if (head_grad.defined())
      add_head_gradient(head_grad, logits.student, hidden.narrow(0, begin, some));
  }
  return sums;
}

}  // namespace sterna::distill
