#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "quant/budget.h"
#include "quant/quantizer.h"

namespace sterna::quant {

/// Where in the model a weight matrix stands.
enum class Place {
  kBlock,    ///< a linear of a decoder block: `[quant] weight` is its default
  kOutside,  ///< embedding or head: quantized only where a rule matches it
};

/// The recipe's sections that a Plan reads, for `sterna list`.
std::vector<recipes::ComponentInfo> plan_sections();

/// Which quantizer each weight matrix gets: the recipe's `[quant]`.
///
///   [quant]
///   weight = { name = "seq", bits = 2 }   # the default; "none" keeps full precision
///   [[quant.rule]]                        # the first rule that matches wins
///   match = "*.down_proj"                 # globs module paths without ".weight"
///   weight = "none"
///   [[quant.stage]]                       # progressive bits: the default of the steps before
///   until = 200                           # `until`, one stage behind the other
///   weight = { name = "seq", bits = 4 }
class Plan {
 public:
  /// Reads the default and every rule; no `weight` means full precision.
  static Plan read(recipes::Section quant,
                   const recipes::Registry<Quantizer>& registry = quantizers());

  /// The plan of one training step: this one, with its stage's default in place of the last.
  /// @param step  0, 1, 2, ...
  Plan at(int64_t step) const;

  /// Stage of a step: 0, 1, ...; behind all stages, their number.
  size_t stage_at(int64_t step) const;

  /// The step that the last stage ends before; 0 where there are no stages.
  int64_t stages_end() const;

  /// @throws recipes::RecipeError  for a rule that matches none of `modules`, with the nearest
  void require_matches(const std::vector<std::string>& modules) const;

  /// A new quantizer for that matrix, or null where it stays in full precision.
  /// @param module  Hugging Face path without ".weight", "model.layers.3.mlp.down_proj"
  std::unique_ptr<Quantizer> build(const std::string& module, Place place = Place::kBlock) const;

  /// What decides about that matrix: "rule 1: *.down_proj", "default", or "outside the blocks".
  std::string rule_of(const std::string& module, Place place = Place::kBlock) const;

  /// True where no rule decides about that matrix but quant.weight, or a stage in its place.
  bool is_default(const std::string& module, Place place = Place::kBlock) const;

  /// Registered name of that matrix's quantizer, or "none".
  std::string scheme_of(const std::string& module, Place place = Place::kBlock) const;

  /// What the recipe says about giving each matrix bits of its own. The plan is that of a recipe
  /// without such a wish until rules came of it (trainer/eval/bits.h).
  const Budget& budget() const { return budget_; }

  /// True where no matrix at all can be quantized.
  bool empty() const;

 private:
  struct Entry {
    std::string match;   // empty for the default
    std::string where;   // "recipe.toml:7:1: 'quant.rule[0].match'"
    std::string scheme;  // "none": make is empty
    recipes::Registry<Quantizer>::Maker make;
  };
  static Entry read_entry(recipes::Section section,
                          const recipes::Registry<Quantizer>& registry,
                          const char* fallback);
  /// Null where nothing applies.
  const Entry* entry_of(const std::string& module, Place place) const;

  std::vector<Entry> rules_;
  std::vector<std::pair<int64_t, Entry>> stages_;  // until, default; in ascending order
  Entry default_;
  Budget budget_;
};

}  // namespace sterna::quant
