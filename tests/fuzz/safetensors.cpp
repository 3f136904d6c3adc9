#include "trainer/io/safetensors.h"

#include <span>

#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"

namespace sterna::tests::fuzz {
namespace {

std::vector<std::string> seeds() {
  const TempFolder folder;
  const std::string data(600, '\x3f');
  const auto bytes = std::as_bytes(std::span(data));
  io::write_safetensors(folder / "a",
                        {{"model.a.weight", io::Dtype::kF32, {10, 10}, bytes.first(400)},
                         {"model.b.weight", io::Dtype::kBF16, {4, 5, 5}, bytes.first(200)},
                         {"model.\xc3\xa9", io::Dtype::kU8, {7}, bytes.first(7)},
                         {"empty", io::Dtype::kF16, {0, 3}, {}}},
                        {{"format", "pt"}, {"note", "\"quoted\" \\ text"}});
  io::write_safetensors(folder / "b", {{"x", io::Dtype::kF16, {}, bytes.first(2)}}, {});
  return {bytes_of(folder / "a"), bytes_of(folder / "b")};
}

bool feed(const std::string& input) {
  static MemoryFile file;
  return reads([&] {
    const auto opened = io::open_safetensors(file.hold(input));
    for (const io::TensorView& view : opened->tensors()) {
      std::vector<float> values(view.elements());
      io::to_float(view, values);
    }
  });
}

}  // namespace

Target safetensors_target() {
  return {"safetensors", seeds, feed};
}

}  // namespace sterna::tests::fuzz
