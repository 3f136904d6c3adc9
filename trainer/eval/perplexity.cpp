// Perplexity: e to the mean of -log p(target | what stands before it in its window). Divergence as
// llama.cpp's perplexity tool defines its figures, computed from exact logits.
#include "trainer/eval/perplexity.h"

#include <algorithm>
#include <chrono>

#include "recipes/user_error.h"
#include "trainer/eval/positions.h"
#include "trainer/eval/windows.h"

namespace sterna::eval {
namespace {

using at::Tensor;
using recipes::UserError;

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
  WindowCut windows;
  Tensor text;    ///< int64, all of it
  int64_t batch;  ///< windows at a time
};

/// Scores the windows from `first` on that are run at once.
Positions score(const Task& task, int64_t first) {
  const WindowCut& w = task.windows;
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

/// All windows in their order, whoever measured them.
Positions measure(const Task& task) {
  const Share& share = task.options.share;
  Positions all;
  if (share.parts == 1) {
    measure_part(task, [&](const Positions& batch) { append(all, batch); });
    return all;
  }
  const std::vector<std::string> told = share.exchange([&] {
    PositionBytes own;
    measure_part(task, [&](const Positions& batch) { own.add(batch); });
    return own.bytes();
  });
  std::vector<PositionBytes> parts(told.begin(), told.end());
  for (int64_t i = 0; i * task.batch < task.windows.count; ++i)
    append(all, parts[static_cast<size_t>(i % share.parts)].next());
  return all;
}

void check_reference(const model::Decoder& decoder, const model::Decoder* reference) {
  if (reference == nullptr || reference->config().vocab == decoder.config().vocab)
    return;
  throw UserError("eval: the model has " + std::to_string(decoder.config().vocab) +
                  " tokens and the reference " + std::to_string(reference->config().vocab) +
                  "; they can only be compared with the same vocabulary");
}

}  // namespace

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
  const WindowCut w = cut_windows(tokens, options);
  const Tensor text = at::tensor(at::ArrayRef<int32_t>(ids.data(), ids.size()), at::kLong)
                          .to(decoder.head_linear().weight.device());
  const int64_t batch = windows_at_once(options, w.inputs);
  const Positions positions = measure({decoder, reference, options, w, text, batch});
  EvalResult result;
  fill(positions, result);
  if (reference != nullptr)
    result.divergence = divergence_of(positions);
  result.tokens = static_cast<int64_t>(ids.size());
  result.window = w.inputs;
  result.stride = w.stride;
  result.overlap_target = options.overlap_target;
  result.score = options.score;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace sterna::eval
