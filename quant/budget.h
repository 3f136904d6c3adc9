#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "quant/quantizer.h"

namespace sterna::quant {

/// The keys of `[quant]` by which each matrix is given bits of its own.
struct BudgetConfig {
  double budget_bits = 0;
  std::vector<int64_t> budget_candidates = {2, 3, 4};
  std::filesystem::path budget_text;
  int64_t budget_tokens = 2048;

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::Range;
    v("budget_bits",
      budget_bits,
      "average bits of a weight, scales included, to share out among the matrices that no rule "
      "decides about; 0: all get quant.weight as it is",
      Range{0.0, 16.0});
    v("budget_candidates",
      budget_candidates,
      "values of quant.weight.bits to choose from",
      Range{int64_t{0}, int64_t{8}});
    v("budget_text", budget_text, "file on which each matrix's sensitivity is measured");
    v("budget_tokens",
      budget_tokens,
      "tokens of it, from the beginning",
      Range{int64_t{2}, int64_t{1} << 24});
  }
};

/// One width that a matrix may be given.
struct BitCandidate {
  int64_t bits = 0;    ///< as quant.weight.bits says it
  std::string weight;  ///< quant.weight with these bits, as TOML
  recipes::Registry<Quantizer>::Maker make;
};

/// What the recipe says about assigning bits.
struct Budget {
  BudgetConfig config;
  std::vector<BitCandidate> candidates;

  bool wanted() const { return config.budget_bits > 0; }
};

/// Nothing but the numbers where `budget_bits` is 0.
/// @throws recipes::RecipeError  at budget_candidates, where quant.weight cannot have such bits
Budget read_budget(recipes::Section quant, const recipes::Registry<Quantizer>& registry);

/// What each candidate would cost one matrix, and how much the model would lose.
struct BitCosts {
  double weights = 0;        ///< elements of the matrix
  std::vector<double> bits;  ///< stored bits of a weight, by candidate
  std::vector<double> loss;  ///< by candidate; finite
};

/// Chooses a candidate for every matrix: all begin with the cheapest; then, again and again, the
/// change that takes most loss away for each bit of storage, as long as one fits. The sum of the
/// losses is what it makes small, so it takes them to add up. Ties go to the first matrix.
/// @param budget  average stored bits of a weight over all matrices, not below the cheapest
/// @return        index of the candidate, by matrix
std::vector<size_t> share_out(const std::vector<BitCosts>& matrices, double budget);

/// Average stored bits of a weight under a choice.
double average_bits(const std::vector<BitCosts>& matrices, const std::vector<size_t>& chosen);

/// The choice that costs least, which share_out() begins with.
std::vector<size_t> cheapest(const std::vector<BitCosts>& matrices);

}  // namespace sterna::quant
