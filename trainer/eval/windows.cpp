#include "trainer/eval/windows.h"

#include <algorithm>

#include "recipes/user_error.h"

namespace sterna::eval {
namespace {

using recipes::UserError;

constexpr int64_t kTokensAtOnce = 2048;
constexpr int64_t kLogitsOfChunk = int64_t{12} << 20;  // 48 MiB in fp32

}  // namespace

WindowCut cut_windows(int64_t tokens, const EvalOptions& options) {
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
  WindowCut w{};
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

int64_t first_scored(const WindowCut& w, const EvalOptions& options, int64_t index) {
  int64_t first = options.score == Score::kHalf ? w.inputs / 2 : 0;
  if (index > 0 && w.stride < w.inputs)
    first = std::max(first, w.targets - w.stride);
  return first;
}

int64_t windows_at_once(const EvalOptions& options, int64_t inputs) {
  return options.batch > 0 ? options.batch : std::max<int64_t>(1, kTokensAtOnce / inputs);
}

int64_t tokens_at_once(const EvalOptions& options) {
  return options.window * windows_at_once(options, options.window);
}

int64_t logits_at_once(int64_t vocab) {
  return std::max<int64_t>(16, kLogitsOfChunk / vocab);
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
  const int64_t inputs = cut_windows(tokens, options).inputs;
  if (inputs > config.max_positions)
    throw UserError("windows of " + std::to_string(inputs) +
                    " tokens, but the model was made for " + "at most " +
                    std::to_string(config.max_positions) + " positions; take a smaller window");
}

}  // namespace sterna::eval
