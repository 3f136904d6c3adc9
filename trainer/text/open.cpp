#include "recipes/user_error.h"
#include "trainer/io/gguf.h"
#include "trainer/text/sentencepiece.h"
#include "trainer/text/tokenizer.h"
#include "trainer/text/tokenizer_gguf.h"
#include "trainer/text/tokenizer_json.h"

namespace sterna::text {

std::unique_ptr<Tokenizer> open_tokenizer(const std::filesystem::path& path) {
  namespace fs = std::filesystem;
  if (fs::is_directory(path)) {
    if (fs::exists(path / "tokenizer.json")) {
      return open_tokenizer_json(path / "tokenizer.json");
    }
    if (fs::exists(path / "tokenizer.model")) {
      return open_sentencepiece(path / "tokenizer.model");
    }
    throw recipes::UserError(path.string() +
                             ": no tokenizer here (tokenizer.json or tokenizer.model)");
  }
  if (!fs::exists(path)) {
    throw recipes::UserError(path.string() + ": no such file or folder");
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
