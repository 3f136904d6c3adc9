#pragma once

#include <memory>
#include <string>
#include <vector>

#include "distill/divergence.h"
#include "distill/weighting.h"

namespace sterna::distill {

/// One summand of the objective: weight * (sum over tokens of weighting * divergence) / count.
struct Term {
  std::string name;  ///< as in log.jsonl
  double weight = 1;
  std::unique_ptr<Divergence> divergence;
  std::unique_ptr<TokenWeighting> weighting;

  bool needs_teacher() const {
    return divergence->target() == Target::kTeacher || weighting->needs_teacher();
  }
};

/// The key `loss` of `[kd]`, and those of one of its tables, for `sterna list`.
recipes::Field loss_field();
std::vector<recipes::Field> term_fields();

/// Reads `kd.loss`: a list of { name, weight, weighting }, or a shorthand: "tsld" is ground truth
/// plus 4 times TSLD, "kl+gt" the sum of those. "gt" where the recipe does not say.
std::vector<Term> read_terms(recipes::Section kd);

}  // namespace sterna::distill
