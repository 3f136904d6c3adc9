// Perplexity: e to the mean of -log p(target | what stands before it in its window). Divergence as
// llama.cpp's perplexity tool defines its figures, computed from exact logits.
#include "trainer/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>
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

int64_t windows_at_once(const EvalOptions& options, int64_t inputs) {
  return options.batch > 0 ? options.batch : std::max<int64_t>(1, kTokensAtOnce / inputs);
}

class Scorer {
 public:
  Scorer(const model::Decoder& decoder, const model::Decoder* reference)
      : decoder_(decoder), reference_(reference), chunk_(logits_at_once(decoder.config().vocab)) {}

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

  Positions take() { return std::move(positions_); }

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

/// A text under measurement.
struct Task {
  const model::Decoder& decoder;
  const model::Decoder* reference;
  const EvalOptions& options;
  Windows windows;
  Tensor text;    ///< int64, all of it
  int64_t batch;  ///< windows at a time
};

/// Scores the windows from `first` on that are run at once.
Positions score(const Task& task, int64_t first) {
  const Windows& w = task.windows;
  const int64_t rows = std::min(task.batch, w.count - first);
  const Tensor from = task.text.narrow(0, first * w.stride, task.text.size(0) - first * w.stride);
  const Tensor inputs = from.as_strided({rows, w.inputs}, {w.stride, 1}).contiguous();
  const Tensor hidden = hidden_of(task.decoder, inputs);
  const Tensor other = task.reference == nullptr ? Tensor() : hidden_of(*task.reference, inputs);
  Scorer scorer(task.decoder, task.reference);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t skip = first_scored(w, task.options, first + row);
    const int64_t n = w.targets - skip;
    const Tensor targets = from.narrow(0, row * w.stride + skip + 1, n);
    scorer.add(hidden[row].narrow(0, skip, n),
               other.defined() ? other[row].narrow(0, skip, n) : other,
               targets);
  }
  return scorer.take();
}

void append(Positions& to, const Positions& more) {
  to.nll.insert(to.nll.end(), more.nll.begin(), more.nll.end());
  to.reference_nll.insert(
      to.reference_nll.end(), more.reference_nll.begin(), more.reference_nll.end());
  to.kld.insert(to.kld.end(), more.kld.begin(), more.kld.end());
  to.same_top += more.same_top;
}

/// Runs through all that score() does, with one token.
void come_along(const Task& task) {
  const Tensor token = task.text.narrow(0, 0, 1).unsqueeze(0);
  const Tensor hidden = hidden_of(task.decoder, token);
  const Tensor other = task.reference == nullptr ? Tensor() : hidden_of(*task.reference, token);
  task.decoder.head(hidden);
  if (task.reference != nullptr)
    task.reference->head(other);
}

/// Calls `take` with the positions of every batch of this part.
void measure_part(const Task& task, const std::function<void(const Positions&)>& take) {
  const Share& share = task.options.share;
  for (int64_t round = 0; round * share.parts * task.batch < task.windows.count; ++round) {
    const int64_t first = (round * share.parts + share.part) * task.batch;
    if (first >= task.windows.count && !share.in_step)
      return;
    if (task.options.between)
      task.options.between();
    if (first < task.windows.count)
      take(score(task, first));
    else
      come_along(task);
  }
}

/// Values of a batch as bytes, so that a process can tell another.
class Packed {
 public:
  explicit Packed(std::string bytes = {}) : bytes_(std::move(bytes)) {}

  void add(const Positions& p) {
    const int64_t counts[3] = {std::ssize(p.nll), std::ssize(p.kld), p.same_top};
    put(counts, sizeof counts);
    for (const std::vector<double>* values : {&p.nll, &p.reference_nll, &p.kld})
      put(values->data(), values->size() * sizeof(double));
  }

  Positions next() {
    int64_t counts[3] = {};
    get(counts, sizeof counts);
    Positions p;
    p.nll.resize(static_cast<size_t>(counts[0]));
    p.reference_nll.resize(static_cast<size_t>(counts[1]));
    p.kld.resize(static_cast<size_t>(counts[1]));
    p.same_top = counts[2];
    for (std::vector<double>* values : {&p.nll, &p.reference_nll, &p.kld})
      get(values->data(), values->size() * sizeof(double));
    return p;
  }

  const std::string& bytes() const { return bytes_; }

 private:
  void put(const void* from, size_t size) { bytes_.append(static_cast<const char*>(from), size); }
  void get(void* to, size_t size) {
    TORCH_CHECK(at_ + size <= bytes_.size(), "eval: another process measured fewer windows");
    if (size > 0)
      std::memcpy(to, bytes_.data() + at_, size);
    at_ += size;
  }

  std::string bytes_;
  size_t at_ = 0;
};

/// All windows in their order, whoever measured them.
Positions measure(const Task& task) {
  const Share& share = task.options.share;
  Positions all;
  if (share.parts == 1) {
    measure_part(task, [&](const Positions& batch) { append(all, batch); });
    return all;
  }
  const std::vector<std::string> told = share.exchange([&] {
    Packed own;
    measure_part(task, [&](const Positions& batch) { own.add(batch); });
    return own.bytes();
  });
  std::vector<Packed> parts(told.begin(), told.end());
  for (int64_t i = 0; i * task.batch < task.windows.count; ++i)
    append(all, parts[static_cast<size_t>(i % share.parts)].next());
  return all;
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

int64_t tokens_at_once(const EvalOptions& options) {
  return options.window * windows_at_once(options, options.window);
}

int64_t logits_at_once(int64_t vocab) {
  return std::max<int64_t>(16, kLogitsAtOnce / vocab);
}

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
  const int64_t batch = windows_at_once(options, w.inputs);
  const Positions positions = measure({decoder, reference, options, w, text, batch});
  EvalResult result;
  fill(positions, result);
  if (reference != nullptr)
    result.divergence = summarise(positions);
  result.tokens = static_cast<int64_t>(ids.size());
  result.window = w.inputs;
  result.stride = w.stride;
  result.overlap_target = options.overlap_target;
  result.score = options.score;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace sterna::eval
