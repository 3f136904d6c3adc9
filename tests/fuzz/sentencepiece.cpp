// SentencePiece's .model: a protocol buffer, read by the library itself.
#include "trainer/text/sentencepiece.h"

#include "tests/fuzz/exercise.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"
#include "tests/support/tokenizers.h"

namespace sterna::tests::fuzz {
namespace {

std::vector<std::string> seeds() {
  return all_bytes(golden_tokenizers(), ".model");
}

bool feed(const std::string& input) {
  static MemoryFolder folder("tokenizer.model");
  return reads([&] { exercise(*text::open_tokenizer(folder.hold(input))); });
}

}  // namespace

Target sentencepiece_target() {
  return {"sentencepiece", seeds, feed};
}

}  // namespace sterna::tests::fuzz
