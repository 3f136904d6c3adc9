#include "distill/head_pass.h"

#include <algorithm>
#include <utility>

#include "distill/head_product.h"

namespace sterna::distill {
namespace {

Pull pull_of(const Direction& d, const Tensor& strength) {
  const Tensor each = at::tensor({d.teacher, d.label, d.reverse, d.mixture}, at::kDouble);
  return at::outer(strength, each.to(strength.device()));
}

bool same(const Direction& a, const Direction& b) {
  return a.teacher == b.teacher && a.label == b.label && a.reverse == b.reverse &&
         a.mixture == b.mixture;
}

Tensor flat(const Tensor& hidden) {
  return hidden.detach().reshape({hidden.size(0) * hidden.size(1), hidden.size(2)});
}

void check(const HeadInputs& in, bool needs_teacher) {
  TORCH_CHECK(in.student_hidden.dim() == 3 && in.student_head.dim() == 2 &&
                  in.student_hidden.size(2) == in.student_head.size(1),
              "objective: expected student hidden [B, T, D] and head [V, D], got ",
              in.student_hidden.sizes(),
              " and ",
              in.student_head.sizes());
  TORCH_CHECK(in.labels.dim() == 2 && in.labels.sizes() == in.student_hidden.sizes().slice(0, 2),
              "objective: expected labels [B, T] beside hidden ",
              in.student_hidden.sizes(),
              ", got ",
              in.labels.sizes());
  TORCH_CHECK(!in.labels.is_cpu() || in.labels.numel() == 0 ||
                  in.labels.max().item<int64_t>() < in.student_head.size(0),
              "objective: a label lies beyond the head's ",
              in.student_head.size(0),
              " words");
  if (!needs_teacher)
    return;
  if (in.teacher_top.defined()) {
    TORCH_CHECK(in.teacher_top.ids.dim() == 3 &&
                    in.teacher_top.ids.sizes().slice(0, 2) == in.labels.sizes() &&
                    in.teacher_top.log_p.size(2) == in.teacher_top.ids.size(2) + 1,
                "objective: expected the teacher's top words [B, T, K] and [B, T, K + 1], got ",
                in.teacher_top.ids.sizes(),
                " and ",
                in.teacher_top.log_p.sizes());
    return;
  }
  TORCH_CHECK(in.teacher_hidden.defined() && in.teacher_head.defined(),
              "objective: a term needs the teacher's hidden states and head");
  TORCH_CHECK(in.teacher_head.size(0) == in.student_head.size(0) &&
                  in.teacher_hidden.sizes().slice(0, 2) == in.labels.sizes(),
              "objective: teacher's head ",
              in.teacher_head.sizes(),
              " and hidden ",
              in.teacher_hidden.sizes(),
              " do not fit the student's head ",
              in.student_head.sizes(),
              " and the labels ",
              in.labels.sizes());
}

}  // namespace

HeadPass::HeadPass(const std::vector<Term>& terms,
                   const HeadInputs& inputs,
                   const Counts& totals,
                   Tensor head_grad)
    : terms_(terms), in_(inputs), head_grad_(std::move(head_grad)) {
  const bool taught =
      std::any_of(terms.begin(), terms.end(), [](const Term& t) { return t.needs_teacher(); });
  check(inputs, taught);
  for (size_t i = 0; i < terms.size(); ++i)
    scales_.push_back(totals[i] > 0 ? terms[i].weight / totals[i] : 0.0);
  batch_ = inputs.labels.size(0);
  length_ = inputs.labels.size(1);
  vocab_ = inputs.student_head.size(0);
  in_.student_hidden = flat(inputs.student_hidden);
  in_.student_head = inputs.student_head.detach();
  in_.labels = inputs.labels.reshape(-1).to(inputs.student_hidden.device());
  in_.teacher_hidden = in_.teacher_head = Tensor();
  in_.teacher_top = {};
  if (taught && inputs.teacher_top.defined()) {
    in_.teacher_top = {flat(inputs.teacher_top.ids), flat(inputs.teacher_top.log_p)};
  } else if (taught) {
    in_.teacher_hidden = flat(inputs.teacher_hidden);
    in_.teacher_head = inputs.teacher_head.detach();
  }
  const auto device = inputs.student_hidden.device();
  const auto wide = at::TensorOptions(device).dtype(at::kDouble);
  for (size_t i = 0; i < terms.size(); ++i)
    weights_.push_back(at::empty({batch_ * length_}, wide));
  result_.sums = at::zeros({static_cast<int64_t>(terms.size())}, wide);
  result_.d_hidden = at::empty_like(in_.student_hidden);
  choose_views();
}

/// As few passes over the logits as serve all terms.
void HeadPass::choose_views() {
  const bool labels = std::any_of(terms_.begin(), terms_.end(), [](const Term& t) {
    return t.divergence->target() == Target::kLabel || t.weighting->needs_teacher();
  });
  if (labels)
    view_for({});
  for (const Term& term : terms_)
    view_of_.push_back(view_for(term.divergence->view()));
}

/// A view serves also those who want no mixture.
size_t HeadPass::view_for(const View& wanted) {
  for (size_t i = 0; i < views_.size(); ++i) {
    View& view = views_[i];
    const bool mixes = view.mixture == wanted.mixture || view.mixture == 0 || wanted.mixture == 0;
    if (view.temperature != wanted.temperature || !mixes)
      continue;
    view.mixture = std::max(view.mixture, wanted.mixture);
    return i;
  }
  views_.push_back(wanted);
  return views_.size() - 1;
}

HeadResult HeadPass::run(int64_t chunk) {
  const int64_t tokens = batch_ * length_;
  if (tokens > 0) {
    const int64_t limit = capacity(chunk);
    plan_ = choose_plan(limit);
    int64_t step = chunk > 0 ? limit : std::min(limit, kManyTokens);
    if (plan_ == Plan::kWhole)
      step = length_ * std::max<int64_t>(1, step / length_);
    step = std::min(step, tokens);
    allocate(step);
    if (plan_ == Plan::kKnown)
      weigh(0, tokens, Tensor());
    if (plan_ == Plan::kTwoPass)
      teacher_pass(step);
    for (int64_t begin = 0; begin < tokens; begin += step)
      chunk_pass(begin, std::min(step, tokens - begin));
    if (plan_ == Plan::kScaled)
      finish_scaled();
  }
  result_.d_hidden = result_.d_hidden.view({batch_, length_, result_.d_hidden.size(1)});
  return result_;
}

int64_t HeadPass::capacity(int64_t chunk) const {
  if (chunk > 0)
    return chunk;
  int64_t word = in_.student_head.element_size();
  if (in_.teacher_head.defined())
    word += in_.teacher_head.element_size();
  if (in_.teacher_top.defined())
    word += static_cast<int64_t>(sizeof(float));
  return affordable_tokens(vocab_, word);
}

HeadPass::Plan HeadPass::choose_plan(int64_t limit) const {
  const bool late = std::any_of(
      terms_.begin(), terms_.end(), [](const Term& t) { return t.weighting->needs_teacher(); });
  if (!late)
    return Plan::kKnown;
  TORCH_CHECK(!in_.teacher_top.defined(),
              "objective: a weighting needs the teacher's loss, which top words do not tell");
  if (length_ <= limit)
    return Plan::kWhole;
  return one_direction() && !head_grad_.defined() ? Plan::kScaled : Plan::kTwoPass;
}

bool HeadPass::one_direction() const {
  const Direction first = terms_.front().divergence->direction();
  return views_.size() == 1 && std::all_of(terms_.begin(), terms_.end(), [&](const Term& t) {
           return same(t.divergence->direction(), first);
         });
}

void HeadPass::allocate(int64_t tokens) {
  const auto device = in_.student_hidden.device();
  student_logits_ = at::empty({tokens, vocab_}, in_.student_head.options().device(device));
  if (in_.teacher_head.defined())
    teacher_logits_ = at::empty({tokens, vocab_}, in_.teacher_head.options().device(device));
  if (in_.teacher_top.defined())
    teacher_logits_ = at::empty({tokens, vocab_}, at::TensorOptions(device).dtype(at::kFloat));
  if (plan_ == Plan::kScaled)
    figures_ = at::empty({batch_ * length_, kFigures}, result_.sums.options());
}

/// Fills the weights of whole sequences.
void HeadPass::weigh(int64_t begin, int64_t count, const Tensor& teacher_label_ce) {
  TokenStats tokens;
  tokens.labelled = (in_.labels.narrow(0, begin, count) >= 0).view({-1, length_});
  if (teacher_label_ce.defined())
    tokens.teacher_label_ce = teacher_label_ce.reshape({-1, length_});
  for (size_t i = 0; i < terms_.size(); ++i)
    weights_[i].narrow(0, begin, count).copy_(terms_[i].weighting->weights(tokens).reshape(-1));
}

void HeadPass::teacher_pass(int64_t step) {
  const int64_t tokens = batch_ * length_;
  const Tensor ce = at::empty({tokens}, result_.sums.options());
  for (int64_t begin = 0; begin < tokens; begin += step) {
    const int64_t count = std::min(step, tokens - begin);
    const Tensor logits = teacher_logits_.narrow(0, 0, count);
    logits_into(logits, in_.teacher_hidden.narrow(0, begin, count), in_.teacher_head);
    const Logits alone{logits, Tensor(), in_.labels.narrow(0, begin, count)};
    ce.narrow(0, begin, count).copy_(logit_figures(alone).label_ce());
  }
  weigh(0, tokens, ce);
}

void HeadPass::add_teacher(int64_t begin, Logits& logits) {
  const int64_t count = logits.student.size(0);
  logits.teacher = teacher_logits_.narrow(0, 0, count);
  if (!in_.teacher_top.defined())
    return logits_into(
        logits.teacher, in_.teacher_hidden.narrow(0, begin, count), in_.teacher_head);
  const TopWords top{in_.teacher_top.ids.narrow(0, begin, count),
                     in_.teacher_top.log_p.narrow(0, begin, count)};
  spread_rest(top, logits.student, logits.teacher);
}

void HeadPass::chunk_pass(int64_t begin, int64_t count) {
  const Tensor hidden = in_.student_hidden.narrow(0, begin, count);
  Logits logits{student_logits_.narrow(0, 0, count), Tensor(), in_.labels.narrow(0, begin, count)};
  logits_into(logits.student, hidden, in_.student_head);
  if (teacher_logits_.defined())
    add_teacher(begin, logits);
  std::vector<Viewed> views = look(logits);
  if (plan_ == Plan::kWhole)
    weigh(begin, count, views.front().figures.teacher_label_ce());
  if (plan_ == Plan::kScaled) {
    figures_.narrow(0, begin, count).copy_(views.front().figures.table);
    views.front().pull = unit_pull(count);
  } else {
    add_sums(begin, count, views);
    add_pulls(begin, count, views);
  }
  logits_to_gradient_(logits, views);

  Tensor d_hidden = result_.d_hidden.narrow(0, begin, count);
  if (d_hidden.scalar_type() == in_.student_head.scalar_type())
    at::mm_out(d_hidden, logits.student, in_.student_head);
  else
    d_hidden.copy_(at::mm(logits.student, in_.student_head));
  if (head_grad_.defined())
    add_head_gradient(head_grad_, logits.student, hidden);
}

std::vector<Viewed> HeadPass::look(const Logits& logits) const {
  std::vector<Viewed> seen;
  for (const View& view : views_)
    seen.push_back({view, logit_figures(logits, view), {}});
  return seen;
}

void HeadPass::add_sums(int64_t begin, int64_t count, const std::vector<Viewed>& views) {
  for (size_t i = 0; i < terms_.size(); ++i) {
    const Tensor losses = terms_[i].divergence->per_token(views[view_of_[i]].figures);
    const Tensor weights = weights_[i].narrow(0, begin, count);
    result_.sums[static_cast<int64_t>(i)].add_((weights * losses).sum());
  }
}

void HeadPass::add_pulls(int64_t begin, int64_t count, std::vector<Viewed>& views) const {
  for (Viewed& each : views)
    each.pull = at::zeros({count, 4}, result_.sums.options());
  for (size_t i = 0; i < terms_.size(); ++i) {
    const Tensor strength = weights_[i].narrow(0, begin, count) * scales_[i];
    views[view_of_[i]].pull.add_(pull_of(terms_[i].divergence->direction(), strength));
  }
  for (Viewed& each : views)
    each.pull = each.pull.to(at::kFloat);
}

Pull HeadPass::unit_pull(int64_t count) const {
  const Tensor ones = at::ones({count}, result_.sums.options());
  return pull_of(terms_.front().divergence->direction(), ones).to(at::kFloat);
}

void HeadPass::finish_scaled() {
  const int64_t tokens = batch_ * length_;
  const LogitFigures figures{figures_};
  weigh(0, tokens, figures.teacher_label_ce());
  add_sums(0, tokens, {{views_.front(), figures, {}}});
  Tensor strength = at::zeros({tokens}, result_.sums.options());
  for (size_t i = 0; i < terms_.size(); ++i)
    strength.add_(weights_[i], scales_[i]);
  result_.d_hidden.mul_(strength.to(at::kFloat).unsqueeze(1));
}

}  // namespace sterna::distill
