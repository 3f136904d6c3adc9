// Damaged files either open whole or give a FileError: never a crash, an endless loop, another
// exception (bad_alloc from a length that was believed) or much memory.
#include <algorithm>
#include <functional>
#include <random>
#include <sys/mman.h>
#include <sys/resource.h>

#include "tests/io/gguf_builder.h"
#include "trainer/io/gguf.h"
#include "trainer/io/safetensors.h"

namespace sterna::io {
namespace {

using tests::gguf_string;
using tests::raw;
using tests::TempFolder;

constexpr int kMutations = 20000;
constexpr int64_t kMemoryLimitKiB = int64_t{1} << 20;

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  std::string operator()(std::string bytes) {
    const size_t changes = 1 + below(3);
    for (size_t i = 0; i < changes && !bytes.empty(); ++i)
      change(bytes);
    return bytes;
  }

 private:
  size_t below(size_t n) { return random_() % n; }

  void change(std::string& bytes) {
    // Half of the changes hit the first bytes, where the lengths are.
    const size_t at = below(below(2) == 0 ? std::min<size_t>(bytes.size(), 200) : bytes.size());
    switch (below(7)) {
      case 0:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, std::string(1 + below(40), static_cast<char>(below(256))));
        break;
      case 4:
        bytes.erase(at, 1 + below(20));
        break;
      case 5:
        std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(at),
                    std::min<size_t>(8, bytes.size() - at),
                    below(2) == 0 ? '\xff' : '\x7f');
        break;
      default:
        bytes.insert(at, bytes.substr(below(bytes.size()), below(100)));
        break;
    }
  }

  std::mt19937_64 random_;
};

struct Outcome {
  int opened = 0;
  int refused = 0;
};

/// A file in memory with a path: 20,000 files on a disk would take minutes.
class MemoryFile {
 public:
  MemoryFile() : file_(::memfd_create("mutation", 0)) {}
  ~MemoryFile() { ::close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::filesystem::path hold(const std::string& bytes) {
    EXPECT_EQ(::ftruncate(file_, 0), 0);
    EXPECT_EQ(::pwrite(file_, bytes.data(), bytes.size(), 0), static_cast<ssize_t>(bytes.size()));
    return "/proc/self/fd/" + std::to_string(file_);
  }

 private:
  int file_;
};

using Open = std::function<std::unique_ptr<TensorFile>(const std::filesystem::path&)>;

Outcome mutate(const std::string& original, const Open& open) {
  MemoryFile memory;
  Mutator mutator(7);
  Outcome outcome;
  for (int i = 0; i < kMutations; ++i) {
    const auto path = memory.hold(mutator(original));
    try {
      const auto file = open(path);
      for (const TensorView& view : file->tensors()) {
        std::vector<float> values(view.elements());
        to_float(view, values);
      }
      ++outcome.opened;
    } catch (const FileError&) {
      ++outcome.refused;
    }
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  EXPECT_LT(usage.ru_maxrss, kMemoryLimitKiB);
  return outcome;
}

TEST(Mutation, ASafetensorsFileDamagedAnywhereIsRefusedOrRead) {
  const TempFolder folder;
  const std::string data(600, '\x3f');
  const auto bytes = std::as_bytes(std::span(data));
  write_safetensors(folder / "x",
                    {{"model.a.weight", Dtype::kF32, {10, 10}, bytes.first(400)},
                     {"model.b.weight", Dtype::kBF16, {4, 5, 5}, bytes.first(200)},
                     {"model.\xc3\xa9", Dtype::kU8, {7}, bytes.first(7)},
                     {"empty", Dtype::kF16, {0, 3}, {}}},
                    {{"format", "pt"}, {"note", "\"quoted\" \\ text"}});
  const Outcome outcome = mutate(tests::read_file(folder / "x"), open_safetensors);
  EXPECT_GT(outcome.opened, kMutations / 50);
  EXPECT_GT(outcome.refused, kMutations / 2);
}

TEST(Mutation, AGgufDamagedAnywhereIsRefusedOrRead) {
  tests::GgufBuilder builder;
  builder.text("general.architecture", "llama");
  builder.pair("general.alignment", 4, raw(uint32_t{32}));
  builder.pair("llama.rope.freq_base", 6, raw(1e5F));
  builder.pair("tokens",
               9,
               raw(uint32_t{8}) + raw(uint64_t{3}) + gguf_string("<s>") + gguf_string("a") +
                   gguf_string("b c"));
  builder.pair("types", 9, raw(uint32_t{5}) + raw(uint64_t{3}) + std::string(12, '\1'));
  builder.pair("flag", 7, raw(uint8_t{1}));
  builder.tensor("token_embd.weight", {32, 4}, 8, std::string(4 * 34, '\x11'));
  builder.tensor("blk.0.attn_q.weight", {64, 2}, 3, std::string(4 * 20, '\x12'));
  builder.tensor("blk.0.attn_k.weight", {32, 2}, 2, std::string(2 * 18, '\x13'));
  builder.tensor("output_norm.weight", {5}, 0, std::string(20, '\x14'));
  const Outcome outcome = mutate(builder.build(), open_gguf);
  EXPECT_GT(outcome.opened, kMutations / 50);
  EXPECT_GT(outcome.refused, kMutations / 2);
}

}  // namespace
}  // namespace sterna::io
