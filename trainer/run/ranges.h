#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quant/range_loss.h"
#include "trainer/run/student.h"

namespace sterna::run {

/// `[[kd.range]]`: losses on the range of weight matrices. The first table whose `match` fits a
/// matrix gives its loss.
class RangeRules {
 public:
  static RangeRules read(recipes::Section kd);

  bool wanted() const { return !rules_.empty(); }

  /// @throws recipes::RecipeError  for a `match` that fits none of `modules`
  void require_matches(const std::vector<std::string>& modules) const;

  struct Loss {
    double weight = 0;
    std::unique_ptr<quant::RangeLoss> loss;  ///< null where no table matches
  };
  Loss build(const std::string& module) const;

 private:
  struct Rule {
    std::string match;
    double weight;
    std::string where;
    recipes::Registry<quant::RangeLoss>::Maker make;
  };
  std::vector<Rule> rules_;
};

/// The recipe's section, for `sterna list`.
recipes::ComponentInfo range_section();

/// Name of the term in log.jsonl, and of what makes a loss of it not finite.
inline const std::string kRange = "range";

/// The range losses of a student in training. Their gradients go to the masters directly, once a
/// step: a weight's range is no matter of micro-batches. Who owns a matrix computes its loss.
class Ranges {
 public:
  /// Those of the matrices that are trained, set by the masters as they are.
  Ranges(const RangeRules& rules, Student& student);

  /// True where a parameter has a loss: it is one of the whole matrix, which has to keep one owner
  /// where matrices are shared out.
  bool has(const std::string& parameter) const { return losses_.contains(parameter); }

  /// Adds the gradients to those of the masters among `trained`, and what the losses learn to the
  /// list itself: empty tensors where the matrix is another rank's.
  /// @return  weighted sum of the losses of this rank's matrices
  double add(std::vector<Trained>& trained);

  /// What is learned, by its names in checkpoints; shared.
  std::map<std::string, Tensor> tensors();

  /// Puts back what tensors() once gave.
  /// @throws io::FileError  naming a tensor that is absent
  void restore(const std::map<std::string, Tensor>& stored, const std::string& from);

 private:
  std::map<std::string, RangeRules::Loss> losses_;  // by parameter
};

}  // namespace sterna::run
