// Block types as ggml defines them (formats.md 4.2); d and m are IEEE halves, little-endian:
//   Q4_0  d, qs[16]      (q - 8) d      byte j: low nibble is element j, high nibble j + 16
//   Q4_1  d, m, qs[16]   q d + m        the same nibbles
//   Q8_0  d, i8[32]      q d
// The others take the way through ggml_block.h.
#include <bit>
#include <cstring>

#include "kernels/half.h"
#include "trainer/io/ggml_block.h"
#include "trainer/io/tensor_file.h"

namespace sterna::io {

namespace {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}

float load_half(const std::byte* from) {
  kernels::Half half;
  std::memcpy(&half, from, sizeof(half));
  return static_cast<float>(half);
}

float load_bf16(const std::byte* from) {
  return std::bit_cast<float>(static_cast<uint32_t>(load<uint16_t>(from)) << 16);
}

template <class T>
void convert(const std::byte* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<float>(load<T>(from + i * sizeof(T)));
}

template <class Nibble>
void nibbles(const std::byte* codes, float* out, const Nibble& value) {
  for (size_t j = 0; j < 16; ++j) {
    const auto byte = static_cast<unsigned>(codes[j]);
    out[j] = value(static_cast<int>(byte & 15));
    out[j + 16] = value(static_cast<int>(byte >> 4));
  }
}

void q4_0(const std::byte* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 32, from += 18) {
    const float d = load_half(from);
    nibbles(from + 2, &out[i], [d](int q) { return static_cast<float>(q - 8) * d; });
  }
}

void q4_1(const std::byte* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 32, from += 20) {
    const float d = load_half(from);
    const float m = load_half(from + 2);
    nibbles(from + 4, &out[i], [d, m](int q) { return static_cast<float>(q) * d + m; });
  }
}

void q8_0(const std::byte* from, std::span<float> out) {
  for (size_t i = 0; i < out.size(); i += 32, from += 34) {
    const float d = load_half(from);
    for (size_t j = 0; j < 32; ++j)
      out[i + j] = static_cast<float>(load<int8_t>(from + 2 + j)) * d;
  }
}

void blocks(const TensorView& view, std::span<float> out) {
  const size_t elements = block_elements(view.dtype);
  const size_t bytes = bytes_of(view.dtype, elements);
  const std::byte* from = view.bytes.data();
  GgmlBlock block;
  for (size_t i = 0; i < out.size(); i += elements, from += bytes) {
    unpack_block(view.dtype, from, block);
    block_values(view.dtype, block, &out[i]);
  }
}

}  // namespace

void to_float(const TensorView& view, std::span<float> out) {
  if (out.size() != view.elements() || view.bytes.size() != bytes_of(view.dtype, out.size()))
    throw FileError("tensor '" + view.name + "': sizes of view and destination disagree");
  const std::byte* from = view.bytes.data();
  switch (view.dtype) {
    case Dtype::kF32:
      if (!out.empty())
        std::memcpy(out.data(), from, out.size_bytes());
      return;
    case Dtype::kF16:
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = load_half(from + 2 * i);
      return;
    case Dtype::kBF16:
      for (size_t i = 0; i < out.size(); ++i)
        out[i] = load_bf16(from + 2 * i);
      return;
    case Dtype::kQ4_0:
      return q4_0(from, out);
    case Dtype::kQ4_1:
      return q4_1(from, out);
    case Dtype::kQ8_0:
      return q8_0(from, out);
    case Dtype::kQ5_0:
    case Dtype::kQ5_1:
    case Dtype::kQ2_K:
    case Dtype::kQ3_K:
    case Dtype::kQ4_K:
    case Dtype::kQ5_K:
    case Dtype::kQ6_K:
    case Dtype::kTQ1_0:
    case Dtype::kTQ2_0:
    case Dtype::kQ2_0:
    case Dtype::kQ2_0Of128:
      return blocks(view, out);
    case Dtype::kF64:
      return convert<double>(from, out);
    case Dtype::kBool:
    case Dtype::kU8:
      return convert<uint8_t>(from, out);
    case Dtype::kI8:
      return convert<int8_t>(from, out);
    case Dtype::kI16:
      return convert<int16_t>(from, out);
    case Dtype::kU16:
      return convert<uint16_t>(from, out);
    case Dtype::kI32:
      return convert<int32_t>(from, out);
    case Dtype::kU32:
      return convert<uint32_t>(from, out);
    case Dtype::kI64:
      return convert<int64_t>(from, out);
    case Dtype::kU64:
      return convert<uint64_t>(from, out);
    default:
      throw FileError("tensor '" + view.name + "' is stored as " +
                      std::string(dtype_name(view.dtype)) +
                      ", which is not read; convert the checkpoint to BF16, F16 or F32");
  }
}

}  // namespace sterna::io
