#pragma once

#include <functional>
#include <string>
#include <vector>

#include "quant/plan.h"
#include "recipes/recipe.h"
#include "trainer/eval/perplexity.h"
#include "trainer/model/load.h"

namespace sterna::eval {

using at::Tensor;

/// A matrix that is to be given bits of its own.
struct BitMatrix {
  std::string module;          ///< Hugging Face path without ".weight"
  std::vector<int64_t> shape;  ///< [N, K]
  quant::BitCosts costs;       ///< `loss` is empty before measure_bits()
};

/// The matrices that `quant.budget_bits` is about: those of the blocks that no rule decides about,
/// in the model's order, with what each candidate would cost. Empty where nothing is to be shared
/// out, as in a recipe that the rules were written into.
/// @throws recipes::UserError  a candidate that does not fit a matrix, a budget below the cheapest
std::vector<BitMatrix> bit_matrices(const quant::Plan& plan, model::Decoder& shapes);

/// The first `quant.budget_tokens` of `quant.budget_text`, int64 [S, T], in sequences of at most
/// 512. @throws recipes::UserError
Tensor bit_tokens(const quant::Plan& plan, const model::CheckpointInfo& info);

/// Bits for every matrix, and what the model loses by them.
struct BitAssignment {
  std::vector<BitMatrix> matrices;
  std::vector<size_t> chosen;  ///< candidate by matrix
  double bits = 0;             ///< average stored bits of a weight
  double divergence = 0;       ///< KL(full || quantized), nats a token, all matrices together
  bool has_uniform = false;    ///< whether one candidate for all fits the budget
  size_t uniform = 0;          ///< the widest of these
  double uniform_bits = 0;
  double uniform_divergence = 0;
};

/// How bits are measured.
struct BitWork {
  /// Called with a line of progress behind each block.
  std::function<void(const std::string&)> say;
  /// Which of the measurements this process makes; all processes give the same assignment.
  Share share{};
};

/// Gives each matrix bits by its sensitivity: the KL divergence, on these tokens, of the model with
/// that matrix alone quantized from the model in full precision, for each candidate; then
/// quant::share_out(). Deterministic at a fixed number of threads.
/// @param decoder  fp32, full precision; the same afterwards
/// @param tokens   int64 [S, T]
BitAssignment assign_bits(const quant::Plan& plan,
                          model::Decoder& decoder,
                          const Tensor& tokens,
                          const BitWork& work);

/// A line for each matrix with its divergences and its bits, and the sums, for people.
std::string table_text(const quant::Plan& plan, const BitAssignment& bits);

/// The assignment as a recipe: a `[[quant.rule]]` for every matrix, to be read, edited, included.
std::string rules_text(const quant::Plan& plan, const BitAssignment& bits);

/// Puts such rules behind the recipe's own; whatever was read of the recipe is to be read again.
/// @param origin  which file they are in, for messages
void add_rules(recipes::Recipe& recipe, const std::string& rules, const std::string& origin);

/// What files with such rules are called.
inline constexpr const char* kBitsFile = "bits.toml";

}  // namespace sterna::eval
