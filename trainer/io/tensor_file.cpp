#include "trainer/io/tensor_file.h"

#include <array>
#include <limits>

#include "recipes/suggest.h"

namespace sterna::io {

namespace {

struct DtypeInfo {
  std::string_view name;
  uint64_t block_elements;
  uint64_t block_bits;
};

constexpr std::array<DtypeInfo, 36> kDtypes = {{
    {"BOOL", 1, 8},         {"F4", 1, 4},           {"F6_E2M3", 1, 6},
    {"F6_E3M2", 1, 6},      {"U8", 1, 8},           {"I8", 1, 8},
    {"F8_E5M2", 1, 8},      {"F8_E4M3", 1, 8},      {"F8_E8M0", 1, 8},
    {"F8_E4M3FNUZ", 1, 8},  {"F8_E5M2FNUZ", 1, 8},  {"I16", 1, 16},
    {"U16", 1, 16},         {"F16", 1, 16},         {"BF16", 1, 16},
    {"I32", 1, 32},         {"U32", 1, 32},         {"F32", 1, 32},
    {"C64", 1, 64},         {"F64", 1, 64},         {"I64", 1, 64},
    {"U64", 1, 64},         {"Q4_0", 32, 18 * 8},   {"Q4_1", 32, 20 * 8},
    {"Q8_0", 32, 34 * 8},   {"Q5_0", 32, 22 * 8},   {"Q5_1", 32, 24 * 8},
    {"Q2_K", 256, 84 * 8},  {"Q3_K", 256, 110 * 8}, {"Q4_K", 256, 144 * 8},
    {"Q5_K", 256, 176 * 8}, {"Q6_K", 256, 210 * 8}, {"TQ1_0", 256, 54 * 8},
    {"TQ2_0", 256, 66 * 8}, {"Q2_0", 64, 18 * 8},   {"Q2_0 of 128", 128, 34 * 8},
}};

const DtypeInfo& info(Dtype dtype) {
  return kDtypes.at(static_cast<size_t>(dtype));
}

}  // namespace

std::string_view dtype_name(Dtype dtype) {
  return info(dtype).name;
}

uint64_t block_elements(Dtype dtype) {
  return info(dtype).block_elements;
}

uint64_t bytes_of(Dtype dtype, uint64_t elements) {
  const DtypeInfo& type = info(dtype);
  const uint64_t blocks = elements / type.block_elements;
  if (elements % type.block_elements != 0 ||
      blocks > std::numeric_limits<uint64_t>::max() / type.block_bits ||
      blocks * type.block_bits % 8 != 0) {
    throw FileError(std::to_string(elements) + " elements of " + std::string(type.name) +
                    " are no whole number of bytes and blocks");
  }
  return blocks * type.block_bits / 8;
}

uint64_t elements_of(std::span<const int64_t> shape) {
  uint64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0 || __builtin_mul_overflow(count, static_cast<uint64_t>(size), &count))
      throw FileError("a shape whose number of elements does not fit 64 bits");
  }
  return count;
}

const TensorView* TensorFile::find(std::string_view name) const {
  for (const TensorView& tensor : tensors()) {
    if (tensor.name == name)
      return &tensor;
  }
  return nullptr;
}

const TensorView& TensorFile::at(std::string_view name) const {
  if (const TensorView* found = find(name))
    return *found;
  std::vector<std::string> names;
  for (const TensorView& tensor : tensors())
    names.push_back(tensor.name);
  throw FileError(path().string() + ": holds no tensor '" + std::string(name) + "'" +
                  (names.empty() ? "; it holds none at all" : recipes::did_you_mean(name, names)));
}

}  // namespace sterna::io
