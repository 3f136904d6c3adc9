#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/eval/perplexity.h"
#include "trainer/run/run_folder.h"
#include "trainer/run/session.h"

namespace sterna::run {

/// Evaluations on a run's way: perplexity on `eval.text`, with the KL divergence from the teacher
/// where there is one, written to eval/<cell>.json.
class Evaluator {
 public:
  /// Reads and tokenizes the text. Both arguments outlive the object.
  Evaluator(const Session& session, const RunFolder& folder);

  /// False where the recipe names no text.
  bool wanted() const { return !ids_.empty(); }

  /// @param cell  names the file: "full-precision", "ptq", "blockwise", "step-40"
  /// @return      nothing where not wanted
  std::optional<eval::EvalResult> run(const model::Decoder& decoder, const std::string& cell) const;

 private:
  const Session& session_;
  const RunFolder& folder_;
  eval::EvalOptions options_;
  std::vector<int32_t> ids_;
};

/// "perplexity 31.42, KL 0.213, same top 81.2 %".
std::string to_text(const eval::EvalResult& result);

}  // namespace sterna::run
