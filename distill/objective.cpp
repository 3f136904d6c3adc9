#include "distill/objective.h"

#include <algorithm>
#include <set>
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
      : terms(read_terms(kd)),
        chunk(kd.read<KdConfig>().chunk),
        dpo(kd),
        hidden(kd),
        intervention(kd) {
    std::set<int64_t> measured;
    for (const Term& term : terms)
      if (const int64_t batches = term.divergence->batches_to_measure(); batches > 0)
        measured.insert(batches);
    if (measured.size() > 1)
      kd.fail("loss",
              "the terms measure beta on different numbers of batches; give them the same "
              "beta_batches and official_beta");
    for (const Term& term : terms)
      if (dpo.wanted() && term.divergence->target() == Target::kLabel)
        kd.fail("loss",
                "beside kd.dpo, " + term.name + " would teach the rejected answers as well");
  }

  /// Every term's sum or count, in order: those of kd.loss, of kd.dpo, of kd.hidden.
  size_t all_terms() const {
    return terms.size() + (dpo.wanted() ? Dpo::names().size() : 0) + (hidden.wanted() ? 1 : 0);
  }

  std::vector<Term> terms;
  int64_t chunk;
  Dpo dpo;
  HiddenLoss hidden;
  Intervention intervention;
};

std::vector<recipes::ComponentInfo> objective_sections() {
  std::vector<recipes::Field> fields = recipes::list_fields<KdConfig>();
  fields.insert(fields.begin(), loss_field());
  fields.push_back({"dpo", "table", "{}", "", "see section kd.dpo"});
  fields.push_back({"hidden", "list of tables", "[]", "", "see section kd.hidden"});
  fields.push_back({"intervention", "table", "{}", "", "see section kd.intervention"});
  fields.push_back({"range", "list of tables", "[]", "", "see section kd.range"});
  return {{"kd", "what the end-to-end stage minimises", fields},
          {"kd.loss", "[[kd.loss]]: one term of the sum", term_fields()},
          {"kd.dpo", "preferences among two answers, data.format = \"preference\"", dpo_fields()},
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
  if (body_->dpo.wanted())
    for (const std::string& name : Dpo::names())
      names.push_back(name);
  if (body_->hidden.wanted())
    names.emplace_back(kHidden);
  return names;
}

std::vector<double> Objective::term_weights() const {
  std::vector<double> weights;
  for (const Term& term : body_->terms)
    weights.push_back(term.weight);
  if (body_->dpo.wanted())
    weights.insert(weights.end(), {body_->dpo.weight(), 0.0, 0.0});  // two are but looked at
  if (body_->hidden.wanted())
    weights.push_back(1);
  return weights;
}

bool Objective::needs_teacher() const {
  return body_->dpo.wanted() || body_->hidden.wanted() || body_->intervention.wanted() ||
         std::any_of(body_->terms.begin(), body_->terms.end(), [](const Term& term) {
           return term.needs_teacher();
         });
}

int64_t Objective::chunk() const {
  return body_->chunk;
}

bool Objective::takes_top_words() const {
  return !body_->dpo.wanted() &&
         std::all_of(body_->terms.begin(), body_->terms.end(), [](const Term& term) {
           const bool teaches = term.divergence->target() == Target::kTeacher;
           return !term.weighting->needs_teacher() &&
                  (!teaches || term.divergence->takes_top_words());
         });
}

const Dpo& Objective::dpo() const {
  return body_->dpo;
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
  if (body_->dpo.wanted())
    counts.insert(counts.end(), Dpo::names().size(), body_->dpo.pairs(labels));
  // Every position is compared, as in the published code.
  if (body_->hidden.wanted())
    counts.push_back(static_cast<double>(labels.numel()));
  return counts;
}

HeadResult Objective::run(const HeadInputs& inputs, const Counts& totals, Tensor head_grad) const {
  const size_t terms = body_->all_terms();
  TORCH_CHECK(
      totals.size() == terms, "objective: expected ", terms, " counts, got ", totals.size());
  const at::NoGradGuard no_grad;
  HeadResult result = run_terms(inputs, totals, head_grad);
  if (body_->dpo.wanted()) {
    const double pairs = totals[body_->terms.size()];
    const Tensor sums = body_->dpo.run(inputs, pairs, body_->chunk, result.d_hidden, head_grad);
    result.sums = at::cat({result.sums, sums});
  }
  if (body_->hidden.wanted())
    result.sums = at::constant_pad_nd(result.sums, {0, 1});
  return result;
}

HeadResult Objective::run_terms(const HeadInputs& inputs,
                                const Counts& totals,
                                const Tensor& head_grad) const {
  if (body_->terms.empty())
    return {at::zeros({0}, inputs.student_hidden.options().dtype(at::kDouble)),
            at::zeros_like(inputs.student_hidden)};
  HeadPass pass(body_->terms, inputs, totals, head_grad);
  return pass.run(body_->chunk);
}

}  // namespace sterna::distill
