// A GGUF as what it is: tensors, a configuration, a tokenizer and a model's weights.
#include "trainer/io/gguf.h"

#include "tests/fuzz/exercise.h"
#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"
#include "tests/io/gguf_builder.h"
#include "tests/support/paths.h"
#include "trainer/model/load.h"

namespace sterna::tests::fuzz {
namespace {

std::vector<std::string> seeds() {
  GgufBuilder builder;
  builder.text("general.architecture", "llama");
  builder.pair("general.alignment", 4, raw(uint32_t{32}));
  builder.pair("llama.rope.freq_base", 6, raw(1e5F));
  builder.text("tokenizer.ggml.model", "llama");
  builder.pair("tokenizer.ggml.tokens",
               9,
               raw(uint32_t{8}) + raw(uint64_t{4}) + gguf_string("<unk>") + gguf_string("a") +
                   gguf_string("b") + gguf_string("ab"));
  builder.pair("tokenizer.ggml.scores",
               9,
               raw(uint32_t{6}) + raw(uint64_t{4}) + raw(0.F) + raw(-1.F) + raw(-2.F) + raw(-3.F));
  builder.pair("tokenizer.ggml.token_type", 9, raw(uint32_t{0}) + raw(uint64_t{4}) + "\2\1\1\1");
  builder.pair("tokenizer.ggml.unknown_token_id", 4, raw(uint32_t{0}));
  builder.pair("flag", 7, raw(uint8_t{1}));
  builder.tensor("token_embd.weight", {32, 4}, 8, std::string(4 * 34, '\x11'));
  builder.tensor("blk.0.attn_q.weight", {64, 2}, 3, std::string(4 * 20, '\x12'));
  builder.tensor("blk.0.attn_k.weight", {32, 2}, 2, std::string(2 * 18, '\x13'));
  builder.tensor("output_norm.weight", {5}, 0, std::string(20, '\x14'));
  std::vector<std::string> all = all_bytes(source_dir() / "tests/golden", ".gguf");
  all.push_back(builder.build());
  return all;
}

void read_tensors(const std::filesystem::path& path) {
  const auto opened = io::open_gguf(path);
  for (const io::TensorView& view : opened->tensors()) {
    std::vector<float> values(view.elements());
    io::to_float(view, values);
  }
}

bool feed(const std::string& input) {
  static MemoryFile file;
  const std::filesystem::path path = file.hold(input);
  const bool container = reads([&] { read_tensors(path); });
  reads([&] { exercise(*text::open_tokenizer(path)); });
  reads([&] { model::read_weights(model::inspect(path)); });
  return container;
}

}  // namespace

Target gguf_target() {
  return {"gguf", seeds, feed};
}

}  // namespace sterna::tests::fuzz
