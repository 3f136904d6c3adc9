// Perplexity: e to the mean of -log p(target | what stands before it in its window). Divergence as
// llama.cpp's perplexity tool defines its figures, computed from exact logits.
#include "trainer/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <numeric>

#include "recipes/user_error.h"

namespace sterna::eval {
namespace {

using at::Tensor;
using recipes::UserError;

constexpr int64_t kTokensAtOnce = 2048;
constexpr int64_t kLogitsAtOnce = int64_t{12} << 20;  // 48 MiB in fp32

// Where the windows of a text lie; all have the same length.
struct Windows {
  int64_t inputs;   // T
  int64_t targets;  // T or T - 1
  int64_t stride;
  int64_t count;
};

Windows cut(int64_t tokens, const EvalOptions& options) {
  if (options.window < 2 || options.stride < 0 || options.stride > options.window ||
      options.max_windows < 0 || options.batch < 0) {
    throw UserError(
        "eval: expected window >= 2, 0 <= stride <= window, max_windows >= 0 and "
        "batch >= 0");
  }
  if (tokens < 2)
    throw UserError("eval: the text has " + std::to_string(tokens) +
                    " tokens; at least two are needed");
  const int64_t beyond = options.overlap_target ? 1 : 0;
  Windows w{};
  w.inputs = std::min(options.window, tokens - beyond);
  w.targets = w.inputs - 1 + beyond;
  w.stride = options.stride == 0 ? options.window : options.stride;
  w.count = (tokens - w.inputs - beyond) / w.stride + 1;
  if (options.max_windows > 0)
    w.count = std::min(w.count, options.max_windows);
  if (options.score == Score::kHalf && w.inputs / 2 >= w.targets)
    throw UserError("eval: windows of " + std::to_string(w.inputs) +
                    " tokens have no prediction in their second half; set eval.score=all or a "
                    "longer eval.window");
  return w;
}

// First target of window `index` that counts.
int64_t first_scored(const Windows& w, const EvalOptions& options, int64_t index) {
  int64_t first = options.score == Score::kHalf ? w.inputs / 2 : 0;
  if (index > 0 && w.stride < w.inputs)
    first = std::max(first, w.targets - w.stride);
  return first;
}

// What every scored position gave, in order.
struct Positions {
  std::vector<double> nll;
  std::vector<double> reference_nll;
  std::vector<double> kld;
  int64_t same_top = 0;
};

// NaN counts as infinitely bad: it has no place in a sorted list.
void append(std::vector<double>& to, const Tensor& values) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const Tensor wide = values.to(at::kCPU, at::kDouble).contiguous().nan_to_num(kInf, kInf, -kInf);
  const double* data = wide.const_data_ptr<double>();
  to.insert(to.end(), data, data + wide.numel());
}

class Scorer {
 public:
  Scorer(const model::Decoder& decoder, const model::Decoder* reference)
      : decoder_(decoder),
        reference_(reference),
        chunk_(std::max<int64_t>(16, kLogitsAtOnce / decoder.config().vocab)) {}

  // Rows of hidden states [n, D] and their targets [n].
  void add(const Tensor& hidden, const Tensor& reference_hidden, const Tensor& targets) {
    for (int64_t at = 0; at < targets.size(0); at += chunk_) {
      const int64_t n = std::min(chunk_, targets.size(0) - at);
      const Tensor goal = targets.narrow(0, at, n).unsqueeze(1);
      const Tensor log_p = log_probabilities(decoder_, hidden.narrow(0, at, n));
      append(positions_.nll, -log_p.gather(1, goal).squeeze(1));
      if (reference_ != nullptr)
        compare(log_p, log_probabilities(*reference_, reference_hidden.narrow(0, at, n)), goal);
    }
  }

  const Positions& positions() const { return positions_; }

 private:
  static Tensor log_probabilities(const model::Decoder& decoder, const Tensor& hidden) {
    return at::log_softmax(decoder.head(hidden), -1, at::kFloat);
  }

  void compare(const Tensor& log_p, const Tensor& log_r, const Tensor& goal) {
    append(positions_.reference_nll, -log_r.gather(1, goal).squeeze(1));
    append(positions_.kld, (log_r.exp() * (log_r - log_p)).sum(-1, /*keepdim=*/false, at::kDouble));
    positions_.same_top += log_p.argmax(-1).eq(log_r.argmax(-1)).sum().item<int64_t>();
  }

  const model::Decoder& decoder_;
  const model::Decoder* reference_;
  int64_t chunk_;
  Positions positions_;
};

Tensor hidden_of(const model::Decoder& decoder, const Tensor& tokens) {
  const auto cache = kvcache::make_stateless(decoder.attention());
  return decoder.hidden(tokens, at::arange(tokens.size(1), tokens.options()), *cache);
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// llama.cpp's rule: linear between the two nearest ranks.
double percentile(const std::vector<double>& sorted, double fraction) {
  const double rank = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double share = rank - static_cast<double>(below);
  return (1 - share) * sorted[below] + share * sorted[above];
}

Divergence summarise(const Positions& positions) {
  std::vector<double> sorted = positions.kld;
  std::sort(sorted.begin(), sorted.end());
  Divergence d;
  d.mean = mean_of(sorted);
  d.median = percentile(sorted, 0.5);
  d.p95 = percentile(sorted, 0.95);
  d.p99 = percentile(sorted, 0.99);
  d.p999 = percentile(sorted, 0.999);
  d.max = sorted.back();
  d.same_top = static_cast<double>(positions.same_top) / static_cast<double>(sorted.size());
  d.ppl_ratio = std::exp(mean_of(positions.nll) - mean_of(positions.reference_nll));
  return d;
}

void fill(const Positions& positions, EvalResult& result) {
  const auto n = static_cast<double>(positions.nll.size());
  result.predicted_tokens = static_cast<int64_t>(positions.nll.size());
  result.not_finite = std::count_if(
      positions.nll.begin(), positions.nll.end(), [](double x) { return !std::isfinite(x); });
  result.nll = mean_of(positions.nll);
  result.ppl = std::exp(result.nll);
  double squares = 0;
  for (const double x : positions.nll)
    squares += (x - result.nll) * (x - result.nll);
  if (n > 1)
    result.ppl_stderr = result.ppl * std::sqrt(squares / n / (n - 1));
}

void check_reference(const model::Decoder& decoder, const model::Decoder* reference) {
  if (reference == nullptr || reference->config().vocab == decoder.config().vocab)
    return;
  throw UserError("eval: the model has " + std::to_string(decoder.config().vocab) +
                  " tokens and the reference " + std::to_string(reference->config().vocab) +
                  "; they can only be compared with the same vocabulary");
}

}  // namespace

Score parse_score(const std::string& name) {
  if (name == "all")
    return Score::kAll;
  if (name == "half")
    return Score::kHalf;
  throw UserError("eval.score: expected all or half, found '" + name + "'");
}

void require_windows(int64_t tokens,
                     const EvalOptions& options,
                     const model::DecoderConfig& config) {
  const int64_t inputs = cut(tokens, options).inputs;
  if (inputs > config.max_positions)
    throw UserError("windows of " + std::to_string(inputs) +
                    " tokens, but the model was made for " + "at most " +
                    std::to_string(config.max_positions) + " positions; take a smaller window");
}

EvalResult evaluate(const model::Decoder& decoder,
                    std::span<const int32_t> ids,
                    const EvalOptions& options,
                    const model::Decoder* reference) {
  const auto start = std::chrono::steady_clock::now();
  const at::NoGradGuard no_grad;
  check_reference(decoder, reference);
  const auto tokens = static_cast<int64_t>(ids.size());
  require_windows(tokens, options, decoder.config());
  if (reference != nullptr)
    require_windows(tokens, options, reference->config());
  const Windows w = cut(tokens, options);
  const Tensor text = at::tensor(at::ArrayRef<int32_t>(ids.data(), ids.size()), at::kLong)
                          .to(decoder.head_linear().weight.device());
  const int64_t batch =
      options.batch > 0 ? options.batch : std::max<int64_t>(1, kTokensAtOnce / w.inputs);
  Scorer scorer(decoder, reference);
  for (int64_t first = 0; first < w.count; first += batch) {
    if (options.between)
      options.between();
    const int64_t rows = std::min(batch, w.count - first);
    const Tensor from = text.narrow(0, first * w.stride, text.size(0) - first * w.stride);
    const Tensor inputs = from.as_strided({rows, w.inputs}, {w.stride, 1}).contiguous();
    const Tensor hidden = hidden_of(decoder, inputs);
    const Tensor other = reference == nullptr ? Tensor() : hidden_of(*reference, inputs);
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t skip = first_scored(w, options, first + row);
      const int64_t n = w.targets - skip;
      const Tensor targets = from.narrow(0, row * w.stride + skip + 1, n);
      scorer.add(hidden[row].narrow(0, skip, n),
                 reference == nullptr ? other : other[row].narrow(0, skip, n),
                 targets);
    }
  }
  EvalResult result;
  fill(scorer.positions(), result);
  if (reference != nullptr)
    result.divergence = summarise(scorer.positions());
  result.tokens = static_cast<int64_t>(ids.size());
  result.window = w.inputs;
  result.stride = w.stride;
  result.overlap_target = options.overlap_target;
  result.score = options.score;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace sterna::eval
