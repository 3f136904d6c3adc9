// RoPE scaling as a GGUF spells it, judged by llama.cpp's rules.
#include <fstream>

#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "tests/io/gguf_builder.h"
#include "tests/support/temp_folder.h"
#include "trainer/io/gguf.h"
#include "trainer/model/config.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

constexpr uint32_t kU32 = 4;
constexpr uint32_t kF32 = 6;

tests::GgufBuilder tiny() {
  tests::GgufBuilder file;
  file.text("general.architecture", "llama");
  for (const auto& [key, value] : {std::pair<const char*, uint32_t>{"embedding_length", 32},
                                   {"feed_forward_length", 64},
                                   {"block_count", 1},
                                   {"attention.head_count", 4},
                                   {"context_length", 128}})
    file.pair(std::string("llama.") + key, kU32, tests::raw(value));
  file.pair("llama.attention.layer_norm_rms_epsilon", kF32, tests::raw(1e-5f));
  file.tensor("token_embd.weight", {32, 8}, 0, std::string(32 * 8 * 4, '\0'));
  return file;
}

kvcache::RopeConfig rope_of(const tests::GgufBuilder& builder) {
  const tests::TempFolder folder;
  const fs::path path = folder / "tiny.gguf";
  std::ofstream(path, std::ios::binary) << builder.build();
  return read_gguf_config(*io::open_gguf(path)).rope;
}

TEST(GgufRope, WithoutAnyKeyIsNotScaled) {
  const kvcache::RopeConfig rope = rope_of(tiny());
  EXPECT_EQ(rope.type, "default");
  EXPECT_EQ(rope.factor, 1.0);
}

TEST(GgufRope, AFactorWithoutATypeIsLinearInBothSpellings) {
  for (const char* key : {"llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    tests::GgufBuilder file = tiny();
    file.pair(key, kF32, tests::raw(4.0f));
    EXPECT_EQ(rope_of(file).type, "linear") << key;
    EXPECT_EQ(rope_of(file).factor, 4.0) << key;
  }
}

TEST(GgufRope, TypeNoneLeavesAFactorAside) {
  tests::GgufBuilder file = tiny();
  file.text("llama.rope.scaling.type", "none");
  file.pair("llama.rope.scaling.factor", kF32, tests::raw(4.0f));
  EXPECT_EQ(rope_of(file).type, "default");
}

TEST(GgufRope, AFactorOfZeroScalesNothing) {
  tests::GgufBuilder file = tiny();
  file.pair("llama.rope.scaling.factor", kF32, tests::raw(0.0f));
  EXPECT_EQ(rope_of(file).type, "default");
}

TEST(GgufRope, AnotherTypeIsRefusedByName) {
  tests::GgufBuilder file = tiny();
  file.text("llama.rope.scaling.type", "yarn");
  EXPECT_THROW(rope_of(file), recipes::UserError);
}

TEST(GgufConfig, AnEmbeddingWithoutRowsAndColumnsIsRefused) {
  tests::GgufBuilder file = tiny();
  const std::string matrix = tests::raw(uint32_t{2}) + tests::raw(int64_t{32});
  const size_t at = file.infos[0].find(matrix);
  file.infos[0].replace(at, 4 + 2 * 8, tests::raw(uint32_t{0}));
  try {
    rope_of(file);
    ADD_FAILURE() << "accepted";
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("has 0 dimensions where 2 are expected"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace sterna::model
