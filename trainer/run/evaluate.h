#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/eval/perplexity.h"
#include "trainer/run/run_folder.h"
#include "trainer/run/session.h"

namespace sterna::run {

/// The cell of the student before anything was quantized.
constexpr const char* kFullPrecision = "full-precision";

/// What is evaluated: a stage of the run and the model as it stands.
struct Subject {
  std::string cell;  ///< kFullPrecision or another; names the files: "full-precision", "ptq",
                     ///< "blockwise", "step-40"
  const model::Decoder& decoder;
  double bits = 0;  ///< stored bits of a quantized weight; 0: none is quantized
  /// Weights come from other ranks, part by part: every rank computes as often as any.
  bool in_step = false;
};

/// Evaluations on a run's way: perplexity on each file of `eval.text`, with the KL divergence from
/// the teacher where there is another, and what the model writes behind `eval.prompts`; written to
/// eval/<cell>.<text>.json.
class Evaluator {
 public:
  /// Both arguments outlive the object.
  Evaluator(const Session& session, const RunFolder& folder);

  /// False where the recipe names no text.
  bool wanted() const { return !session_.texts.empty(); }

  /// True where every text's file of that cell is there, measured under today's conditions: an
  /// interrupted run need not measure again. Rank 0 looks for all.
  bool done(const std::string& cell) const;

  /// What a figure on a text of the session depends on beside the model: its ids, how they are cut
  /// and scored, the dtype. 16 hex digits; figures are compared only where they agree.
  const std::string& conditions(size_t text) const { return conditions_[text]; }

  /// @return  one result a text, in the recipe's order, the same on every rank
  /// @throws Interrupted  between two batches, on every rank
  std::vector<eval::EvalResult> run(const Subject& subject) const;

 private:
  std::filesystem::path file_of(const std::string& cell, const eval::EvalText& text) const;
  const model::Decoder* reference_of(const Subject& subject) const;
  eval::Share share(bool in_step) const;
  std::vector<std::string> continuations(const Subject& subject) const;

  const Session& session_;
  const RunFolder& folder_;
  std::vector<std::string> conditions_;  ///< by text
};

/// "perplexity 31.42, KL 0.213, same top 81.2 %".
std::string to_text(const eval::EvalResult& result);

}  // namespace sterna::run
