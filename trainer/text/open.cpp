#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "trainer/io/gguf.h"
#include "trainer/io/json.h"
#include "trainer/text/sentencepiece.h"
#include "trainer/text/tokenizer.h"
#include "trainer/text/tokenizer_gguf.h"
#include "trainer/text/tokenizer_json.h"
#include "trainer/text/vocab_files.h"

namespace sterna::text {

namespace {

namespace fs = std::filesystem;

// Where a folder holds both, tokenizer.json is a conversion that treats repeated spaces otherwise
// than the SentencePiece model the weights were trained with; so the original is taken, unless the
// conversion knows tokens that were added later.
bool adds_tokens(const fs::path& tokenizer_json) {
  const nlohmann::json json = io::read_json(tokenizer_json);
  const auto vocabulary = nlohmann::json::json_pointer("/model/vocab");
  if (!json.contains(vocabulary) || !json.at(vocabulary).is_object())
    return true;
  for (const auto& token : json.value("added_tokens", nlohmann::json::array())) {
    if (!token.contains("content") || !token.at("content").is_string() ||
        !json.at(vocabulary).contains(token.at("content").get<std::string>()))
      return true;
  }
  return false;
}

}  // namespace

bool has_tokenizer(const std::filesystem::path& path) {
  return !fs::is_directory(path) || fs::exists(path / "tokenizer.json") ||
         fs::exists(path / "tokenizer.model") || has_vocabulary_files(path);
}

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path) {
  if (fs::is_directory(path)) {
    const fs::path json = path / "tokenizer.json";
    const fs::path original = path / "tokenizer.model";
    if (fs::exists(json) && (!fs::exists(original) || adds_tokens(json))) {
      return open_tokenizer_json(json);
    }
    if (fs::exists(original)) {
      return open_sentencepiece(original);
    }
    if (has_vocabulary_files(path)) {
      return open_vocabulary_files(path);
    }
    throw recipes::UserError(
        path.string() +
        ": no tokenizer here (tokenizer.json, tokenizer.model, vocab.json with "
        "merges.txt, or vocab.txt); copy those of the model into this folder");
  }
  if (!fs::exists(path)) {
    throw recipes::UserError(path.string() + ": no such file or folder");
  }
  if (const fs::path name = path.filename();
      (name == "vocab.json" || name == "merges.txt" || name == "vocab.txt") &&
      has_vocabulary_files(path.parent_path())) {
    return open_vocabulary_files(path.parent_path());
  }
  if (path.extension() == ".json") {
    return open_tokenizer_json(path);
  }
  if (path.extension() == ".model") {
    return open_sentencepiece(path);
  }
  if (io::is_gguf(path)) {
    return open_tokenizer_gguf(path);
  }
  throw recipes::UserError(path.string() +
                           ": no tokenizer (expected a folder, tokenizer.json, a SentencePiece "
                           ".model or a GGUF file)");
}

}  // namespace sterna::text
