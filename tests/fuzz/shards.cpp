// model.safetensors.index.json beside two shards that are sound.
#include <span>

#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"
#include "trainer/io/safetensors.h"

namespace sterna::tests::fuzz {
namespace {

constexpr const char* kFirst = "model-00001-of-00002.safetensors";
constexpr const char* kSecond = "model-00002-of-00002.safetensors";

std::vector<std::string> seeds() {
  const std::string first(kFirst);
  const std::string second(kSecond);
  return {R"({"metadata": {"total_size": 24}, "weight_map": {"a": ")" + first + R"(", "b": ")" +
          first + R"(", "c": ")" + second + "\"}}\n"};
}

const MemoryFolder& with_shards(const MemoryFolder& folder) {
  const std::string data(8, '\1');
  const auto bytes = std::as_bytes(std::span(data));
  io::write_safetensors(folder.path() / kFirst,
                        {{"a", io::Dtype::kF32, {2}, bytes}, {"b", io::Dtype::kF32, {2}, bytes}},
                        {});
  io::write_safetensors(folder.path() / kSecond, {{"c", io::Dtype::kF32, {2}, bytes}}, {});
  return folder;
}

bool feed(const std::string& input) {
  static MemoryFolder folder("model.safetensors.index.json");
  static const MemoryFolder& ready = with_shards(folder);
  (void)ready;
  return reads([&] {
    const auto opened = io::open_safetensors(folder.hold(input));
    (void)opened->at("a");
  });
}

}  // namespace

Target shards_target() {
  return {"shards", seeds, feed};
}

}  // namespace sterna::tests::fuzz
