// Sensitivity of a matrix m at b bits, on T tokens:
//   D_m(b) = 1/T sum_t KL(p_full(. | t) || p_{m at b}(. | t))
// The blocks before m's are computed once for all: their output is the stream that every variant of
// a block's matrices begins with. The full model's probabilities are computed once for all variants
// of a block, chunk by chunk of tokens; no [T, V] tensor exists.
#include "trainer/eval/bits.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "trainer/eval/calibration.h"
#include "trainer/model/plan_fits.h"
#include "trainer/model/quantizers.h"

namespace sterna::eval {
namespace {

using recipes::UserError;

constexpr int64_t kLongest = 512;                    // tokens of a sequence
constexpr int64_t kLogitsAtOnce = int64_t{4} << 20;  // 16 MiB in fp32
constexpr double kWorst = 1e6;                       // stands for NaN and Inf

Tensor rounded(const quant::BitCandidate& candidate, const Tensor& w) {
  const auto quantizer = candidate.make();
  quantizer->init(w);
  return quant::decode(quantizer->encode(w));
}

/// Weights of linear layers that are others until the object goes.
class Swapped {
 public:
  Swapped() = default;
  ~Swapped() {
    for (auto& [linear, weight] : kept_)
      linear->weight = weight;
  }
  Swapped(const Swapped&) = delete;
  Swapped& operator=(const Swapped&) = delete;

  void put(quant::Linear& linear, const quant::BitCandidate& candidate) {
    kept_.emplace_back(&linear, linear.weight);
    linear.weight = rounded(candidate, linear.weight);
  }

 private:
  std::vector<std::pair<quant::Linear*, Tensor>> kept_;
};

/// A model that is walked block by block, compared with what it gives in full precision.
class Walk {
 public:
  Walk(const model::Decoder& decoder, const Tensor& tokens)
      : decoder_(decoder), positions_(at::arange(tokens.size(1), at::kLong)) {
    start_ = decoder.embed(tokens, positions_);
    full_ = rows(to_the_end(0, start_));
  }

  const Tensor& start() const { return start_; }

  Tensor layer(int64_t index, const Tensor& x) const {
    const auto cache = kvcache::make_stateless(decoder_.attention());
    return decoder_.layer(index, x, positions_, *cache);
  }

  /// [S, T, D] before block `first` -> hidden states that the head reads
  Tensor to_the_end(int64_t first, Tensor x) const {
    for (int64_t i = first; i < decoder_.config().layers; ++i)
      x = layer(i, x);
    return decoder_.final_norm(x);
  }

  /// Mean KL(full || variant) for each of several final hidden states.
  std::vector<double> divergences(const std::vector<Tensor>& variants) const {
    std::vector<double> sums(variants.size(), 0.0);
    if (variants.empty())
      return sums;
    const int64_t chunk = std::max<int64_t>(1, kLogitsAtOnce / decoder_.config().vocab);
    for (int64_t at = 0; at < full_.size(0); at += chunk) {
      const int64_t n = std::min(chunk, full_.size(0) - at);
      const Tensor log_r = log_probabilities(full_.narrow(0, at, n));
      const Tensor r = log_r.exp();
      for (size_t i = 0; i < variants.size(); ++i) {
        const Tensor log_p = log_probabilities(rows(variants[i]).narrow(0, at, n));
        sums[i] += (r * (log_r - log_p)).sum(at::kDouble).item<double>();
      }
    }
    for (double& sum : sums) {
      sum /= static_cast<double>(full_.size(0));
      sum = std::isfinite(sum) ? std::clamp(sum, 0.0, kWorst) : kWorst;
    }
    return sums;
  }

 private:
  static Tensor rows(const Tensor& hidden) { return hidden.reshape({-1, hidden.size(-1)}); }
  Tensor log_probabilities(const Tensor& hidden) const {
    return at::log_softmax(decoder_.head(hidden), -1, at::kFloat);
  }

  const model::Decoder& decoder_;
  Tensor positions_;
  Tensor start_;  // [S, T, D]
  Tensor full_;   // [S T, D]
};

using ByModule = std::map<std::string, size_t>;

ByModule indices(const std::vector<BitMatrix>& matrices) {
  ByModule result;
  for (size_t i = 0; i < matrices.size(); ++i)
    result.emplace(matrices[i].module, i);
  return result;
}

/// A matrix with a candidate in its place, everything else in full precision.
struct Trial {
  quant::Linear* linear;
  size_t matrix;
  size_t candidate;
};

/// Every candidate of every matrix of a block, in order.
std::vector<Trial> trials_of(model::Decoder& decoder,
                             int64_t layer,
                             const ByModule& index,
                             size_t candidates) {
  std::vector<Trial> trials;
  for (quant::Linear* linear : decoder.linears_of_layer(layer)) {
    const auto found = index.find(linear->name);
    for (size_t c = 0; found != index.end() && c < candidates; ++c)
      trials.push_back({linear, found->second, c});
  }
  return trials;
}

/// Divergences of the trials that are this process's, in order.
std::vector<double> measure_own(const quant::Budget& budget,
                                const Walk& walk,
                                const std::vector<std::vector<Trial>>& trials,
                                const BitWork& work) {
  std::vector<double> own;
  int64_t next = 0;
  Tensor stream = walk.start();
  for (size_t layer = 0; layer < trials.size(); ++layer) {
    std::vector<Tensor> variants;
    for (const Trial& trial : trials[layer]) {
      if (next++ % work.share.parts != work.share.part)
        continue;
      Swapped other;
      other.put(*trial.linear, budget.candidates[trial.candidate]);
      variants.push_back(walk.to_the_end(static_cast<int64_t>(layer), stream));
    }
    const std::vector<double> found = walk.divergences(variants);
    own.insert(own.end(), found.begin(), found.end());
    stream = walk.layer(static_cast<int64_t>(layer), stream);
    work.say("sensitivity of block " + std::to_string(layer + 1) + " of " +
             std::to_string(trials.size()));
  }
  return own;
}

/// What each process measured, by part.
std::vector<std::vector<double>> told_by_all(const Share& share,
                                             const std::function<std::vector<double>()>& measure) {
  if (share.parts == 1)
    return {measure()};
  const std::vector<std::string> told = share.exchange([&] {
    const std::vector<double> own = measure();
    return std::string(reinterpret_cast<const char*>(own.data()), own.size() * sizeof(double));
  });
  std::vector<std::vector<double>> all;
  for (const std::string& bytes : told) {
    all.emplace_back(bytes.size() / sizeof(double));
    std::memcpy(all.back().data(), bytes.data(), all.back().size() * sizeof(double));
  }
  return all;
}

/// Every candidate of every matrix, one at a time; the processes take turns.
void measure(const quant::Budget& budget,
             model::Decoder& decoder,
             const Walk& walk,
             std::vector<BitMatrix>& matrices,
             const BitWork& work) {
  const ByModule index = indices(matrices);
  std::vector<std::vector<Trial>> trials;
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer)
    trials.push_back(trials_of(decoder, layer, index, budget.candidates.size()));
  const std::vector<std::vector<double>> told =
      told_by_all(work.share, [&] { return measure_own(budget, walk, trials, work); });
  size_t next = 0;
  for (const std::vector<Trial>& of_block : trials)
    for (const Trial& trial : of_block) {
      matrices[trial.matrix].costs.loss.push_back(told[next % told.size()].at(next / told.size()));
      ++next;
    }
}

/// The model with a candidate for each matrix.
double together(const quant::Budget& budget,
                model::Decoder& decoder,
                const Walk& walk,
                const std::vector<BitMatrix>& matrices,
                const std::vector<size_t>& chosen) {
  const ByModule index = indices(matrices);
  Tensor stream = walk.start();
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer) {
    Swapped other;
    for (quant::Linear* linear : decoder.linears_of_layer(layer)) {
      if (const auto found = index.find(linear->name); found != index.end())
        other.put(*linear, budget.candidates[chosen[found->second]]);
    }
    stream = walk.layer(layer, stream);
  }
  return walk.divergences({walk.to_the_end(decoder.config().layers, stream)}).front();
}

std::vector<quant::BitCosts> costs_of(const std::vector<BitMatrix>& matrices) {
  std::vector<quant::BitCosts> costs;
  for (const BitMatrix& matrix : matrices)
    costs.push_back(matrix.costs);
  return costs;
}

void choose_uniform(double budget, BitAssignment& result) {
  const std::vector<quant::BitCosts> costs = costs_of(result.matrices);
  for (size_t c = 0; c < costs.front().bits.size(); ++c) {
    const double bits = quant::average_bits(costs, std::vector<size_t>(costs.size(), c));
    if (bits > budget * (1 + 1e-9) || (result.has_uniform && bits <= result.uniform_bits))
      continue;
    result.has_uniform = true;
    result.uniform = c;
    result.uniform_bits = bits;
  }
}

}  // namespace

std::vector<BitMatrix> bit_matrices(const quant::Plan& plan, model::Decoder& shapes) {
  const quant::Budget& budget = plan.budget();
  std::vector<BitMatrix> matrices;
  for (const model::Parameter& p : shapes.parameters()) {
    const std::string module = model::module_of(p.name);
    if (!budget.wanted() || !p.matrix || p.adapter || !plan.is_default(module, model::place_of(p)))
      continue;
    BitMatrix matrix{module, p.shape, {}};
    matrix.costs.weights = static_cast<double>(p.shape[0]) * static_cast<double>(p.shape[1]);
    for (const quant::BitCandidate& candidate : budget.candidates)
      matrix.costs.bits.push_back(
          model::try_quantizer(*candidate.make(), p.name, p.shape).bits_per_weight);
    matrices.push_back(std::move(matrix));
  }
  const std::vector<quant::BitCosts> costs = costs_of(matrices);
  const double least = quant::average_bits(costs, quant::cheapest(costs));
  if (least > budget.config.budget_bits * (1 + 1e-9))
    throw UserError("quant.budget_bits: " + recipes::Section::to_text(budget.config.budget_bits) +
                    " bits of a weight are not enough: with the narrowest of "
                    "quant.budget_candidates everywhere, scales included, they are " +
                    recipes::Section::to_text(std::ceil(1e4 * least) / 1e4));
  return matrices;
}

Tensor bit_tokens(const quant::Plan& plan, const model::CheckpointInfo& info) {
  const quant::BudgetConfig& config = plan.budget().config;
  const int64_t longest = std::min(kLongest, info.config.max_positions);
  const int64_t length = std::min(longest, config.budget_tokens);
  return read_calibration(
      {config.budget_text, config.budget_tokens / length, length, "quant.budget_text, measured on"},
      info);
}

BitAssignment assign_bits(const quant::Plan& plan,
                          model::Decoder& decoder,
                          const Tensor& tokens,
                          const BitWork& work) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(decoder.compute_dtype() == at::kFloat, "assign_bits: expected an fp32 decoder");
  const quant::Budget& budget = plan.budget();
  BitAssignment result;
  result.matrices = bit_matrices(plan, decoder);
  TORCH_CHECK(!result.matrices.empty(), "assign_bits: nothing to assign");
  const Walk walk(decoder, tokens);
  measure(budget, decoder, walk, result.matrices, work);
  const std::vector<quant::BitCosts> costs = costs_of(result.matrices);
  result.chosen = quant::share_out(costs, budget.config.budget_bits);
  result.bits = quant::average_bits(costs, result.chosen);
  result.divergence = together(budget, decoder, walk, result.matrices, result.chosen);
  choose_uniform(budget.config.budget_bits, result);
  if (result.has_uniform)
    result.uniform_divergence = together(
        budget, decoder, walk, result.matrices, std::vector<size_t>(costs.size(), result.uniform));
  return result;
}

void add_rules(recipes::Recipe& recipe, const std::string& rules, const std::string& origin) {
  recipes::Recipe under = recipes::Recipe::parse(rules, origin);
  under.overlay(recipe);
  recipe = std::move(under);
}

}  // namespace sterna::eval
