#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipes/components.h"

namespace sterna::distill {

/// What of a student's attention the teacher's stands in for: its probabilities, its context (what
/// the output projection reads), its output before the residual sum.
enum class Swap { kNone, kMap, kContext, kOutput };

/// Teacher intervention (Kim et al., EACL 2023, arXiv:2302.11812): in the first steps the teacher's
/// signal stands in for the student's in every layer, so that quantization errors do not add up
/// over layers while the others learn.
///   output      kOutput throughout
///   gradual     kOutput for a sixth of the steps, kContext up to a third, then kMap
///   inverted    kMap for a third, kContext up to two thirds, then kOutput
///   stochastic  one of the three, drawn for each step
/// Our addition: `chance`, that a sample's layer is intervened at all, may be less than 1 and fall.
class Intervention {
 public:
  /// Reads `kd.intervention`.
  explicit Intervention(recipes::Section kd);

  bool wanted() const { return config_.steps > 0; }
  int64_t steps() const { return config_.steps; }
  const std::string& mode() const { return config_.mode; }

  /// @param step  0, 1, 2, ...: attempts of the end-to-end stage
  Swap at(int64_t step, int64_t seed) const;

  /// Whether that layer is intervened for that sample, in a step where at() is not kNone.
  bool drawn(int64_t seed, int64_t step, int64_t sample, int64_t layer) const;

 private:
  friend std::vector<recipes::Field> intervention_fields();
  struct Config {
    std::string mode = "output";
    int64_t steps = 0;
    double chance = 1;
    double chance_final = 1;

    template <class Visitor>
    void fields(Visitor& v) {
      using recipes::OneOf;
      using recipes::Range;
      v("mode",
        mode,
        "what the teacher's attention gives the student's layers",
        OneOf{"output", "gradual", "inverted", "stochastic"});
      v("steps",
        steps,
        "first steps of the end-to-end stage that are intervened; 0: none",
        Range{int64_t{0}, int64_t{1} << 40});
      v("chance", chance, "that a layer is intervened for a sample, at first", Range{0.0, 1.0});
      v("chance_final", chance_final, "the same in the last of these steps", Range{0.0, 1.0});
    }
  };
  Config config_;
};

/// The keys of `[kd.intervention]`, for `sterna list`.
std::vector<recipes::Field> intervention_fields();

}  // namespace sterna::distill
