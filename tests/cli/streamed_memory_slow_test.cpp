// An export that is larger than the memory allowed is evaluated all the same: its blocks are read
// from the mapped file when they compute.
#include <fstream>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "quant/pack.h"
#include "tests/cli/verbs.h"
#include "tests/support/program.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/config.h"
#include "trainer/model/decoder.h"

namespace sterna::cli {
namespace {

using nlohmann::json;

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kBits = 8;

/// 32 blocks of 16.8 million weights of 8 bits: 537 MB.
tests::TinyModel large_model() {
  tests::TinyModel shape;
  shape.width = 1024;
  shape.inner = 4096;
  shape.layers = 32;
  shape.heads = shape.kv_heads = 16;
  shape.tied = true;
  return shape;
}

/// An export in layout sterna, of bytes that are no pattern.
void write_large_export(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  const tests::TinyModel shape = large_model();
  std::ofstream(folder / "config.json") << tests::llama_config(shape);
  tests::write_byte_tokenizer(folder);
  std::vector<std::byte> codes(static_cast<size_t>(shape.inner * shape.width));
  std::mt19937 engine(5);
  for (std::byte& code : codes)
    code = static_cast<std::byte>(engine());
  // 0.0005 as a brain float: with codes of -128 .. 127 weights of about 1/32.
  const std::vector<uint16_t> scales(static_cast<size_t>(shape.inner), 0x3a03);
  const std::vector<float> ones(static_cast<size_t>(shape.vocab * shape.width), 0.02f);
  std::vector<io::TensorToWrite> writes;
  json entries;
  model::Decoder shapes(model::read_hf_config(folder), at::kFloat);
  for (const model::Parameter& p : shapes.parameters()) {
    const int64_t n = p.shape[0], k = p.matrix ? p.shape[1] : 1;
    if (p.layer < 0 || !p.matrix) {
      entries[p.name] = {{"storage", "plain"}};
      writes.push_back({p.name,
                        io::Dtype::kF32,
                        p.shape,
                        std::as_bytes(std::span(ones)).first(static_cast<size_t>(n * k) * 4)});
      continue;
    }
    entries[p.name] = {{"storage", "codes"},
                       {"shape", p.shape},
                       {"grid", "affine"},
                       {"bits", kBits},
                       {"code_min", -128},
                       {"group", k},
                       {"offset", 0},
                       {"zeros", "none"},
                       {"scale_dtype", "BF16"}};
    writes.push_back({p.name + ".codes",
                      io::Dtype::kU8,
                      {n, quant::packed_row_bytes(k, kBits)},
                      std::span(codes).first(static_cast<size_t>(n * k))});
    writes.push_back({p.name + ".scales",
                      io::Dtype::kBF16,
                      {n, 1},
                      std::as_bytes(std::span(scales)).first(static_cast<size_t>(n) * 2)});
  }
  io::write_safetensors(folder / "sterna.safetensors", std::move(writes));
  std::ofstream(folder / "sterna.json")
      << json{{"format", 1}, {"layout", "sterna"}, {"tensors", entries}};
}

class LargeExport : public tests::Verbs {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "AddressSanitizer reserves terabytes, which no limit on memory grants";
#endif
    Verbs::SetUp();
    write_large_export(folder_ / "large");
  }

  /// Exit code of `sterna eval` that may write to `bytes` of memory of its own; mapped files, of
  /// which the kernel drops what it wants, are not counted.
  int limited(int64_t bytes, const std::vector<std::string>& more) {
    std::vector<std::string> all = {"eval",
                                    path("large"),
                                    "eval.text=" + path("text.txt"),
                                    "eval.window=32",
                                    "eval.max_windows=2",
                                    "train.threads=1"};
    all.insert(all.end(), more.begin(), more.end());
    tests::Program program(all, folder_.path() / "output.txt", [bytes] {
      const rlimit limit{static_cast<rlim_t>(bytes), static_cast<rlim_t>(bytes)};
      setrlimit(RLIMIT_DATA, &limit);
    });
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  std::string output_;
};

TEST_F(LargeExport, IsEvaluatedInLessMemoryThanItsSize) {
  const auto size =
      static_cast<int64_t>(std::filesystem::file_size(folder_ / "large/sterna.safetensors"));
  ASSERT_GT(size, 512 * kMiB);
  EXPECT_EQ(limited(320 * kMiB, {}), kDone) << output_;
  EXPECT_HAS(output_, "perplexity ");
  EXPECT_EQ(limited(320 * kMiB, {"--weights", "dequantized"}), kUserError) << output_;
  EXPECT_HAS(output_, "out of memory");
}

}  // namespace
}  // namespace sterna::cli
