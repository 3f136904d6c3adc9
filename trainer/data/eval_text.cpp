#include "trainer/data/eval_text.h"

#include "recipes/user_error.h"
#include "trainer/data/documents.h"

namespace sterna::data {

EvalBos parse_eval_bos(const std::string& name) {
  if (name == "none") {
    return EvalBos::kNone;
  }
  if (name == "start") {
    return EvalBos::kStart;
  }
  if (name == "document") {
    return EvalBos::kDocument;
  }
  throw recipes::UserError("eval.bos: expected none, start or document, found '" + name + "'");
}

std::vector<int32_t> read_eval_ids(const EvalTextOptions& options,
                                   const text::Tokenizer& tokenizer) {
  const std::optional<int32_t> bos = tokenizer.special().bos;
  if (options.bos != EvalBos::kNone && !bos) {
    throw recipes::UserError(
        "eval.bos: asks for a start token, but the tokenizer has none; set eval.bos=none");
  }
  DocumentOptions documents;
  documents.files = options.text;
  documents.separator = options.separator;
  documents.max_documents = options.max_documents;
  std::vector<int32_t> ids;
  for_each_document(documents, [&](std::string_view document) {
    if (options.held_out > 0 && !is_held_out(document, options.held_out)) {
      return;
    }
    const bool wanted =
        options.bos == EvalBos::kDocument || (options.bos == EvalBos::kStart && ids.empty());
    if (wanted) {
      ids.push_back(*bos);
    }
    const std::vector<int32_t> part = tokenizer.encode(document);
    ids.insert(ids.end(), part.begin(), part.end());
  });
  if (ids.empty()) {
    throw recipes::UserError(
        (options.text.empty() ? "the list of files" : options.text.front().string()) +
        " holds no text");
  }
  return ids;
}

}  // namespace sterna::data
