// Bits matrix by matrix under an average, by greedy exchange.
//
//   gain(m, i -> j) = (loss_m(i) - loss_m(j)) / (n_m (bits_m(j) - bits_m(i))),  bits_m(j) >
//   bits_m(i)
//
// Taking the largest gain over all j, not only the next wider one, walks along the lower convex
// hull of each matrix: up to the first change that does not fit, no choice of at most its cost
// loses less.
#include "quant/budget.h"

#include <algorithm>
#include <limits>

#include "recipes/recipe.h"

namespace sterna::quant {
namespace {

BitCandidate candidate_of(const std::string& weight,
                          int64_t bits,
                          const recipes::Registry<Quantizer>& registry) {
  recipes::Recipe recipe = recipes::Recipe::parse("[quant]\nweight = " + weight, "quant.weight");
  recipe.set("quant.weight.bits=" + std::to_string(bits));
  recipes::Section quant = recipe.section("quant");
  BitCandidate candidate;
  candidate.bits = bits;
  candidate.weight = quant.text("weight");
  candidate.make = registry.maker(quant, "weight");
  recipe.reject_unknown();
  return candidate;
}

struct Change {
  size_t matrix = 0;
  size_t candidate = 0;
  double gain = 0;  // loss taken away for each bit of storage; 0: no change
  double cost = 0;  // bits of storage
};

/// The best change of one matrix that costs at most `room` bits.
Change best_change(const BitCosts& m, size_t from, double room) {
  Change best;
  for (size_t j = 0; j < m.bits.size(); ++j) {
    const double cost = m.weights * (m.bits[j] - m.bits[from]);
    const double less = m.loss[from] - m.loss[j];
    if (!(cost >= 0) || cost > room || !(less > 0))
      continue;
    const double gain = cost > 0 ? less / cost : std::numeric_limits<double>::infinity();
    if (gain > best.gain)
      best = {0, j, gain, cost};
  }
  return best;
}

}  // namespace

Budget read_budget(recipes::Section quant, const recipes::Registry<Quantizer>& registry) {
  Budget budget;
  budget.config = quant.read<BudgetConfig>();
  if (!budget.wanted())
    return budget;
  const std::string weight = quant.text("weight");
  if (weight.empty() || quant.choose("weight", "none") == "none")
    quant.fail("budget_bits", "expected a quant.weight whose bits can be chosen, found none");
  if (!quant.tables("stage").empty())
    quant.fail("budget_bits",
               "matrices that get bits of their own take no part in quant.stage; remove one");
  if (budget.config.budget_candidates.empty())
    quant.fail("budget_candidates", "expected widths to choose from, found none");
  if (budget.config.budget_text.empty())
    quant.fail("budget_text", "expected a file to measure the matrices' sensitivity on");
  for (const int64_t bits : budget.config.budget_candidates) {
    try {
      budget.candidates.push_back(candidate_of(weight, bits, registry));
    } catch (const recipes::UserError& error) {
      quant.fail(
          "budget_candidates",
          "quant.weight cannot be given bits = " + std::to_string(bits) + ": " + error.what());
    }
  }
  return budget;
}

std::vector<size_t> cheapest(const std::vector<BitCosts>& matrices) {
  std::vector<size_t> chosen;
  for (const BitCosts& m : matrices)
    chosen.push_back(
        static_cast<size_t>(std::min_element(m.bits.begin(), m.bits.end()) - m.bits.begin()));
  return chosen;
}

double average_bits(const std::vector<BitCosts>& matrices, const std::vector<size_t>& chosen) {
  double bits = 0;
  double weights = 0;
  for (size_t i = 0; i < matrices.size(); ++i) {
    bits += matrices[i].weights * matrices[i].bits[chosen[i]];
    weights += matrices[i].weights;
  }
  return weights > 0 ? bits / weights : 0;
}

std::vector<size_t> share_out(const std::vector<BitCosts>& matrices, double budget) {
  std::vector<size_t> chosen = cheapest(matrices);
  double weights = 0;
  for (const BitCosts& m : matrices)
    weights += m.weights;
  // What sums of many products lose must not keep a change out that fits exactly.
  const double slack = 1e-9 * weights * std::max(budget, 1.0);
  double room = weights * (budget - average_bits(matrices, chosen)) + slack;
  while (true) {
    Change best;
    for (size_t i = 0; i < matrices.size(); ++i) {
      Change change = best_change(matrices[i], chosen[i], room);
      change.matrix = i;
      if (change.gain > best.gain)
        best = change;
    }
    if (!(best.gain > 0))
      return chosen;
    chosen[best.matrix] = best.candidate;
    room -= best.cost;
  }
}

}  // namespace sterna::quant
