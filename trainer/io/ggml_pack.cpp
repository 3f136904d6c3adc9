// The way back of ggml_unpack.cpp, which shows the layouts.
#include <cstring>
#include <stdexcept>

#include "kernels/half.h"
#include "trainer/io/ggml_block.h"

namespace sterna::io {

namespace {

constexpr const char* kNotWritten = "pack_block: a type that is not written";

void put_half(float value, std::byte* to) {
  const auto half = static_cast<kernels::Half>(value);
  std::memcpy(to, &half, sizeof(half));
}

void set_bits(std::byte* to, size_t byte, unsigned value, size_t shift) {
  to[byte] |= static_cast<std::byte>(value << shift);
}

unsigned widen(int8_t code, int bias) {
  return static_cast<unsigned>(code + bias);
}

void put_nibbles(const GgmlBlock& block, int bias, std::byte* qs, std::byte* qh) {
  for (size_t j = 0; j < 32; ++j) {
    const unsigned code = widen(block.q[j], bias);
    set_bits(qs, j % 16, code & 15, j < 16 ? 0 : 4);
    if (qh != nullptr)
      set_bits(qh, j / 8, code >> 4, j % 8);
  }
}

void put_quarters(const GgmlBlock& block, int bias, std::byte* qs) {
  for (size_t j = 0; j < 256; ++j)
    set_bits(qs, 32 * (j / 128) + j % 32, widen(block.q[j], bias), 2 * (j % 128 / 32));
}

// The digits stand for a fraction of 3^5; rounded up, multiplying by 3 gives them back.
void put_trits(const int8_t* codes, size_t bytes, size_t digits, std::byte* to) {
  for (size_t m = 0; m < bytes; ++m) {
    unsigned value = 0;
    for (size_t n = 0; n < 5; ++n)
      value = value * 3 + (n < digits ? widen(codes[m + n * bytes], 1) : 0);
    to[m] = static_cast<std::byte>((value * 256 + 242) / 243);
  }
}

void put_scales_of_12(const GgmlBlock& block, std::byte* to) {
  for (size_t j = 0; j < 4; ++j) {
    const unsigned scale = widen(block.scale[j + 4], 0), min = widen(block.min[j + 4], 0);
    to[j] = static_cast<std::byte>(widen(block.scale[j], 0) | scale >> 4 << 6);
    to[j + 4] = static_cast<std::byte>(widen(block.min[j], 0) | min >> 4 << 6);
    to[j + 8] = static_cast<std::byte>((scale & 15) | (min & 15) << 4);
  }
}

void pack_k(Dtype dtype, const GgmlBlock& block, std::byte* to) {
  if (dtype == Dtype::kQ2_K) {
    for (size_t k = 0; k < 16; ++k)
      to[k] = static_cast<std::byte>(widen(block.scale[k], 0) | widen(block.min[k], 0) << 4);
    put_quarters(block, 0, to + 16);
    put_half(block.d, to + 80);
    put_half(block.m, to + 82);
    return;
  }
  put_half(block.d, to);
  put_half(block.m, to + 2);
  put_scales_of_12(block, to + 4);
  for (size_t j = 0; j < 256; ++j)
    set_bits(to + 16, 32 * (j / 64) + j % 32, widen(block.q[j], 0), j % 64 < 32 ? 0 : 4);
}

}  // namespace

CodeRange code_range(Dtype dtype) {
  switch (dtype) {
    case Dtype::kQ4_0:
      return {-8, 7};
    case Dtype::kQ5_0:
      return {-16, 15};
    case Dtype::kQ8_0:
      return {-128, 127};
    case Dtype::kTQ1_0:
      return {-1, 1};
    case Dtype::kQ2_0:
    case Dtype::kTQ2_0:
      return {-1, 2};
    case Dtype::kQ2_K:
      return {0, 3};
    case Dtype::kQ4_K:
      return {0, 15};
    default:
      throw std::logic_error(kNotWritten);
  }
}

void pack_block(Dtype dtype, const GgmlBlock& block, std::byte* to) {
  std::memset(to, 0, bytes_of(dtype, block_elements(dtype)));
  switch (dtype) {
    case Dtype::kQ4_0:
      put_nibbles(block, 8, to + 2, nullptr);
      return put_half(block.d, to);
    case Dtype::kQ5_0:
      put_nibbles(block, 16, to + 6, to + 2);
      return put_half(block.d, to);
    case Dtype::kQ8_0:
      std::memcpy(to + 2, block.q.data(), 32);
      return put_half(block.d, to);
    case Dtype::kQ2_0:
      for (size_t j = 0; j < 64; ++j)
        set_bits(to + 2, j / 4, widen(block.q[j], 1), 2 * (j % 4));
      return put_half(block.d, to);
    case Dtype::kTQ1_0:
      put_trits(block.q.data(), 32, 5, to);
      put_trits(block.q.data() + 160, 16, 5, to + 32);
      put_trits(block.q.data() + 240, 4, 4, to + 48);
      return put_half(block.d, to + 52);
    case Dtype::kTQ2_0:
      put_quarters(block, 1, to);
      return put_half(block.d, to + 64);
    case Dtype::kQ2_K:
    case Dtype::kQ4_K:
      return pack_k(dtype, block, to);
    default:
      throw std::logic_error(kNotWritten);
  }
}

}  // namespace sterna::io
