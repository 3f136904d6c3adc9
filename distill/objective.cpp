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

struct Objective::Body {
  std::vector<Term> terms;
  int64_t chunk = 0;
};

std::vector<recipes::ComponentInfo> objective_sections() {
  std::vector<recipes::Field> fields = recipes::list_fields<KdConfig>();
  fields.insert(fields.begin(), loss_field());
  return {{"kd", "what the end-to-end stage minimises", fields},
          {"kd.loss", "[[kd.loss]]: one term of the sum", term_fields()}};
}

Objective::Objective(recipes::Section section) : body_(std::make_unique<Body>()) {
  body_->terms = read_terms(section);
  body_->chunk = section.read<KdConfig>().chunk;
}

Objective::~Objective() = default;
Objective::Objective(Objective&&) noexcept = default;
Objective& Objective::operator=(Objective&&) noexcept = default;

std::vector<std::string> Objective::term_names() const {
  std::vector<std::string> names;
  for (const Term& term : body_->terms)
    names.push_back(term.name);
  return names;
}

std::vector<double> Objective::term_weights() const {
  std::vector<double> weights;
  for (const Term& term : body_->terms)
    weights.push_back(term.weight);
  return weights;
}

bool Objective::needs_teacher() const {
  return std::any_of(body_->terms.begin(), body_->terms.end(), [](const Term& term) {
    return term.needs_teacher();
  });
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
  return counts;
}

HeadResult Objective::run(const HeadInputs& inputs, const Counts& totals, Tensor head_grad) const {
  TORCH_CHECK(totals.size() == body_->terms.size(),
              "objective: expected ",
              body_->terms.size(),
              " counts, got ",
              totals.size());
  const at::NoGradGuard no_grad;
  HeadPass pass(body_->terms, inputs, totals, std::move(head_grad));
  return pass.run(body_->chunk);
}

}  // namespace sterna::distill
