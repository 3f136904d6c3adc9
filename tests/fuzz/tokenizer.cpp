// tokenizer.json: byte-pair and WordPiece models with every component that the golden ones have.
#include "trainer/text/tokenizer.h"

#include <algorithm>

#include "tests/fuzz/exercise.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"
#include "tests/support/tokenizers.h"

namespace sterna::tests::fuzz {
namespace {

std::vector<std::string> seeds() {
  std::vector<std::string> all = all_bytes(golden_tokenizers(), ".json");
  // The cases that lie beside them are no tokenizers.
  std::erase_if(
      all, [](const std::string& text) { return text.find("\"model\"") == std::string::npos; });
  return all;
}

bool feed(const std::string& input) {
  static MemoryFolder folder("tokenizer.json");
  return reads([&] { exercise(*text::open_tokenizer(folder.hold(input))); });
}

}  // namespace

Target tokenizer_target() {
  return {"tokenizer", seeds, feed};
}

}  // namespace sterna::tests::fuzz
