#include "distill/objective.h"

#include <algorithm>
#include <utility>

#include "distill/head_pass.h"
#include "distill/term.h"

namespace sterna::distill {

namespace {

/// The keys of `[kd]` beside the terms.
struct KdConfig {
  int64_t chunk = 0;

  template <class Visitor>
  void fields(Visitor& v) {
    v("chunk",
      chunk,
      "tokens whose logits exist at a time; 0: chosen from the vocabulary's size",
      recipes::Range{0, 1 << 20});
  }
};

}  // namespace

constexpr const char* kHidden = "hidden";

struct Objective::Body {
  explicit Body(recipes::Section kd)
      : terms(read_terms(kd)), chunk(kd.read<KdConfig>().chunk), hidden(kd), intervention(kd) {}

  std::vector<Term> terms;
  int64_t chunk;
  HiddenLoss hidden;
  Intervention intervention;
};

std::vector<recipes::ComponentInfo> objective_sections() {
  std::vector<recipes::Field> fields = recipes::list_fields<KdConfig>();
  fields.insert(fields.begin(), loss_field());
  fields.push_back({"hidden", "list of tables", "[]", "", "see section kd.hidden"});
  fields.push_back({"intervention", "table", "{}", "", "see section kd.intervention"});
  return {{"kd", "what the end-to-end stage minimises", fields},
          {"kd.loss", "[[kd.loss]]: one term of the sum", term_fields()},
          {"kd.hidden", "[[kd.hidden]]: hidden states compared layer by layer", hidden_fields()},
          {"kd.intervention",
           "the teacher's attention in the student's layers, at first",
           intervention_fields()}};
}

Objective::Objective(recipes::Section section) : body_(std::make_unique<Body>(section)) {}

Objective::~Objective() = default;
Objective::Objective(Objective&&) noexcept = default;
Objective& Objective::operator=(Objective&&) noexcept = default;

std::vector<std::string> Objective::term_names() const {
  std::vector<std::string> names;
  for (const Term& term : body_->terms)
    names.push_back(term.name);
  if (body_->hidden.wanted())
    names.emplace_back(kHidden);
  return names;
}

std::vector<double> Objective::term_weights() const {
  std::vector<double> weights;
  for (const Term& term : body_->terms)
    weights.push_back(term.weight);
  if (body_->hidden.wanted())
    weights.push_back(1);
  return weights;
}

bool Objective::needs_teacher() const {
  return body_->hidden.wanted() || body_->intervention.wanted() ||
         std::any_of(body_->terms.begin(), body_->terms.end(), [](const Term& term) {
           return term.needs_teacher();
         });
}

const HiddenLoss& Objective::hidden() const {
  return body_->hidden;
}

const Intervention& Objective::intervention() const {
  return body_->intervention;
}

Tensor Objective::compare_hidden(const std::string& site,
                                 const Tensor& student,
                                 const Tensor& teacher,
                                 const Counts& totals,
                                 const Tensor& sums) const {
  const double weight = body_->hidden.weight(site);
  if (weight == 0 || totals.back() == 0)
    return {};
  const at::NoGradGuard no_grad;
  const Tensor sum = at::zeros({}, sums.options());
  Tensor gradient = mean_square_gradient(student, teacher, weight / totals.back(), sum);
  sums[-1].add_(sum, weight);
  return gradient;
}

int64_t Objective::batches_to_measure() const {
  int64_t most = 0;
  for (const Term& term : body_->terms)
    most = std::max(most, term.divergence->batches_to_measure());
  return most;
}

void Objective::set_confidence(double confidence) {
  for (Term& term : body_->terms)
    term.divergence->set_confidence(confidence);
}

Counts Objective::counts(const Tensor& labels) const {
  TORCH_CHECK(labels.dim() == 2, "objective: expected labels [B, T], got ", labels.sizes());
  const Tensor labelled = labels >= 0;
  Counts counts;
  for (const Term& term : body_->terms)
    counts.push_back(labels.numel() == 0 ? 0.0 : term.weighting->count(labelled));
  // Every position is compared, as in the published code.
  if (body_->hidden.wanted())
    counts.push_back(static_cast<double>(labels.numel()));
  return counts;
}

HeadResult Objective::run(const HeadInputs& inputs, const Counts& totals, Tensor head_grad) const {
  const size_t terms = body_->terms.size() + (body_->hidden.wanted() ? 1 : 0);
  TORCH_CHECK(
      totals.size() == terms, "objective: expected ", terms, " counts, got ", totals.size());
  const at::NoGradGuard no_grad;
  HeadPass pass(body_->terms, inputs, totals, std::move(head_grad));
  HeadResult result = pass.run(body_->chunk);
  if (body_->hidden.wanted())
    result.sums = at::constant_pad_nd(result.sums, {0, 1});
  return result;
}

}  // namespace sterna::distill
