#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainer/text/tokenizer.h"

namespace sterna::data {

/// Where an evaluation's text gets start tokens.
enum class EvalBos { kNone, kStart, kDocument };

/// @throws recipes::UserError  unless `name` is none, start or document
EvalBos parse_eval_bos(const std::string& name);

/// The keys `eval.text`, `eval.separator`, `eval.max_documents`, `eval.held_out` and `eval.bos`.
struct EvalTextOptions {
  std::vector<std::filesystem::path> text;  ///< read one after the other
  /// Splits a file into documents, which are stripped, empty ones dropped. Empty: a whole file,
  /// unstripped, is one document.
  std::string separator;
  std::optional<int64_t> max_documents;  ///< the first ones only
  EvalBos bos = EvalBos::kNone;
  double held_out = 0;  ///< above 0: only the documents of that share, see is_held_out()
};

/// Ids of the evaluation's text: the documents' ids one after the other, with start tokens where
/// `bos` asks for them and no end tokens.
/// @throws recipes::UserError  unreadable file, no text left, or a start token asked for that the
///         tokenizer does not have
std::vector<int32_t> read_eval_ids(const EvalTextOptions& options,
                                   const text::Tokenizer& tokenizer);

}  // namespace sterna::data
