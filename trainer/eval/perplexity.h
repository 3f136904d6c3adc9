#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "trainer/model/decoder.h"

namespace sterna::eval {

/// Which predictions of a window count.
enum class Score {
  kAll,
  kHalf,  ///< the second half of each window only: llama.cpp's rule
};

/// @throws recipes::UserError  unless `name` is all or half
Score parse_score(const std::string& name);

/// One of several processes that measure a text together: each takes every so many'th batch of
/// windows, and all find the sums that one alone would, to the last bit.
struct Share {
  int64_t part = 0;
  int64_t parts = 1;
  /// Calls `measure` and gives what that returned in every process, by part; unused by one part.
  std::function<std::vector<std::string>(const std::function<std::string()>& measure)> exchange =
      {};
  /// Forward passes are meetings (weights come from the other processes): every process runs as
  /// many as any, one behind each call of EvalOptions::between.
  bool in_step = false;
};

/// How a text is cut into windows of T inputs. Windows that do not fill up are dropped, except a
/// text shorter than one window, which is one.
struct EvalOptions {
  int64_t window = 1024;  ///< T
  /// From one window to the next; 0 is the window. Where smaller than the window, only the last
  /// `stride` targets count after the first window.
  int64_t stride = 0;
  int64_t max_windows = 0;      ///< 0: all
  bool overlap_target = false;  ///< T inputs give T predictions (the last target is the next
                                ///< window's first input), not T - 1
  Score score = Score::kAll;
  int64_t batch = 0;                   ///< windows at a time; 0 chooses about 2,048 tokens
  std::function<void()> between = {};  ///< called between batches; may throw to stop
  Share share = {};
};

/// KL(reference || model) over the scored positions, in nats, as llama.cpp's perplexity tool lists
/// it; percentiles by linear interpolation. Ours is the exact sum; that tool leaves out tokens
/// below e^-16 in its stored reference.
struct Divergence {
  double mean = 0, median = 0, p95 = 0, p99 = 0, p999 = 0, max = 0;
  double same_top = 0;   ///< share of positions with the same most likely token
  double ppl_ratio = 0;  ///< PPL(model) / PPL(reference)
};

struct EvalResult {
  double nll = 0;         ///< mean negative log-likelihood, nats per predicted token
  double ppl = 0;         ///< e^nll
  double ppl_stderr = 0;  ///< by the delta method over tokens; 0 for one token
  int64_t predicted_tokens = 0;
  int64_t not_finite = 0;  ///< of these, predictions that were NaN or Inf
  int64_t tokens = 0;      ///< of the text
  int64_t window = 0;
  int64_t stride = 0;
  bool overlap_target = false;
  Score score = Score::kAll;
  double seconds = 0;
  std::optional<Divergence> divergence;  ///< with a reference
};

/// Inputs of a forward pass of evaluate(), of a text that is long enough.
int64_t tokens_at_once(const EvalOptions& options);

/// Tokens whose logits exist at a time.
int64_t logits_at_once(int64_t vocab);

/// Refuses what evaluate() would refuse: a text of too few tokens, options out of range, windows
/// that the model has no positions for. @throws recipes::UserError
void require_windows(int64_t tokens,
                     const EvalOptions& options,
                     const model::DecoderConfig& config);

/// Perplexity of a text, and divergence from a reference of the same vocabulary. Logits exist for
/// some hundred tokens at a time only; sums are taken in fp64.
/// @param ids        of the whole text
/// @param reference  null for none
/// @throws recipes::UserError  text too short, options out of range, vocabularies that differ
EvalResult evaluate(const model::Decoder& decoder,
                    std::span<const int32_t> ids,
                    const EvalOptions& options,
                    const model::Decoder* reference = nullptr);

/// One flat JSON object: the contract's fields, "format": 1, and those of `extra` (text, bos,
/// dtype, ...).
nlohmann::ordered_json to_json(const EvalResult& result, const nlohmann::ordered_json& extra);

}  // namespace sterna::eval
