#pragma once

#include <map>
#include <string>
#include <vector>

#include "trainer/run/adamw.h"

namespace sterna::run {

/// What became of one step.
struct Outcome {
  bool applied = false;
  double grad_norm = 0;  ///< before clipping; NaN or Inf where a gradient is
  double squared_norm = 0;
  std::string bad_tensor;  ///< first one with NaN or Inf, where not applied
};

/// AdamW or BertAdam with its moments by tensor name, clipping and the guard against NaN and Inf.
class Optimizer {
 public:
  struct Moments {
    Tensor first;
    Tensor second;
    int64_t applied = 0;  ///< updates of this tensor: fewer than all where it had no part in some
  };

  /// @param clip  largest norm of all gradients together (BertAdam: of each); 0: no clipping
  Optimizer(const AdamConfig& config, double clip) : config_(config), clip_(clip) {}

  /// inspect(), and move() where every gradient is finite.
  Outcome apply(std::vector<Trained>& tensors, const Rates& rates);

  /// Norm and first bad tensor; nothing is moved.
  Outcome inspect(const std::vector<Trained>& tensors) const;

  /// Moves all values; `outcome` is what inspect() said of them, nothing bad.
  void move(std::vector<Trained>& tensors, const Rates& rates, Outcome& outcome);

  /// True where clipping asks for the norm of each tensor.
  bool clips_each() const { return clip_ > 0 && config_.bert; }

  std::map<std::string, Moments>& moments() { return moments_; }
  const std::map<std::string, Moments>& moments() const { return moments_; }
  int64_t applied() const { return applied_; }
  void set_applied(int64_t applied) { applied_ = applied; }

 private:
  double grad_factor(const Trained& tensor, const Outcome& outcome) const;

  AdamConfig config_;
  double clip_;
  std::map<std::string, Moments> moments_;
  int64_t applied_ = 0;
};

}  // namespace sterna::run
