// GGUF's blocks as ggml defines them (formats.md 4.2); halves are little-endian:
//   Q5_0   d, qh[4], qs[16]          (q - 16) d    nibbles as in Q4_0, bit j of qh is bit 4 of q
//   Q5_1   d, m, qh[4], qs[16]       q d + m
//   Q2_0   d, qs[16 or 32]           (q - 1) d     element j: byte j / 4, bits 2 (j % 4)
//   TQ2_0  qs[64], d                 (q - 1) d     element j: byte 32 (j / 128) + j % 32,
//                                                  bits 2 (j % 128 / 32), called "quarters" below
//   TQ1_0  qs[48], qh[4], d          (q - 1) d     five (in qh four) digits of base 3 in a byte
//   Q2_K   sc[16], qs[64], d, m      quarters; low nibbles of sc are scales, high ones mins
//   Q3_K   qh[32], qs[64], sc[12], d quarters, - 4 where bit j / 32 of qh[j % 32] is 0
//   Q4_K   d, m, sc[12], qs[128]     64 elements in 32 bytes: low nibbles first
//   Q5_K   d, m, sc[12], qh[32], qs  likewise, bit j / 32 of qh[j % 32] is bit 4 of q
//   Q6_K   ql[128], qh[64], sc[16], d
#include <cstring>
#include <stdexcept>

#include "kernels/half.h"
#include "trainer/io/ggml_block.h"

namespace sterna::io {

namespace {

unsigned byte_at(const std::byte* from, size_t i) {
  return static_cast<unsigned>(from[i]);
}

float half_at(const std::byte* from) {
  kernels::Half half;
  std::memcpy(&half, from, sizeof(half));
  return static_cast<float>(half);
}

int8_t narrow(unsigned code, int bias) {
  return static_cast<int8_t>(static_cast<int>(code) - bias);
}

void nibbles(const std::byte* qs, const std::byte* qh, int bias, GgmlBlock& block) {
  uint32_t high = 0;
  if (qh != nullptr)
    std::memcpy(&high, qh, sizeof(high));
  for (size_t j = 0; j < 16; ++j) {
    block.q[j] = narrow((byte_at(qs, j) & 15) | (high >> j & 1) << 4, bias);
    block.q[j + 16] = narrow(byte_at(qs, j) >> 4 | (high >> (j + 16) & 1) << 4, bias);
  }
}

void quarters(const std::byte* qs, int bias, GgmlBlock& block) {
  for (size_t j = 0; j < 256; ++j)
    block.q[j] = narrow(byte_at(qs, 32 * (j / 128) + j % 32) >> (2 * (j % 128 / 32)) & 3, bias);
}

void trits(const std::byte* from, size_t bytes, size_t digits, int8_t* out) {
  for (size_t m = 0; m < bytes; ++m) {
    unsigned rest = byte_at(from, m);
    for (size_t n = 0; n < digits; ++n) {
      out[m + n * bytes] = narrow(rest * 3 >> 8, 1);
      rest = rest * 3 & 255;
    }
  }
}

// 6 bits each, the first four scales and mins in one piece, the others in two.
void scales_of_12(const std::byte* from, GgmlBlock& block) {
  for (size_t j = 0; j < 4; ++j) {
    const unsigned a = byte_at(from, j), b = byte_at(from, j + 4), c = byte_at(from, j + 8);
    block.scale[j] = narrow(a & 63, 0);
    block.min[j] = narrow(b & 63, 0);
    block.scale[j + 4] = narrow((c & 15) | a >> 6 << 4, 0);
    block.min[j + 4] = narrow(c >> 4 | b >> 6 << 4, 0);
  }
}

void q4_k(const std::byte* qs, const std::byte* qh, GgmlBlock& block) {
  for (size_t j = 0; j < 256; ++j) {
    const unsigned byte = byte_at(qs, 32 * (j / 64) + j % 32);
    const unsigned high = qh == nullptr ? 0 : byte_at(qh, j % 32) >> (j / 32) & 1;
    block.q[j] = narrow((j % 64 < 32 ? byte & 15 : byte >> 4) | high << 4, 0);
  }
}

void q2_k(const std::byte* from, GgmlBlock& block) {
  for (size_t k = 0; k < 16; ++k) {
    block.scale[k] = narrow(byte_at(from, k) & 15, 0);
    block.min[k] = narrow(byte_at(from, k) >> 4, 0);
  }
  quarters(from + 16, 0, block);
  block.d = half_at(from + 80);
  block.m = half_at(from + 82);
}

void q3_k(const std::byte* from, GgmlBlock& block) {
  quarters(from + 32, 0, block);
  for (size_t j = 0; j < 256; ++j) {
    if ((byte_at(from, j % 32) >> (j / 32) & 1) == 0)
      block.q[j] = static_cast<int8_t>(block.q[j] - 4);
  }
  const std::byte* scales = from + 96;
  for (size_t k = 0; k < 16; ++k) {
    const unsigned low = byte_at(scales, k % 8) >> (k < 8 ? 0 : 4) & 15;
    const unsigned high = byte_at(scales, 8 + k % 4) >> (2 * (k / 4)) & 3;
    block.scale[k] = narrow(low | high << 4, 32);
  }
  block.d = half_at(from + 108);
}

void q6_k(const std::byte* from, GgmlBlock& block) {
  for (size_t j = 0; j < 256; ++j) {
    const size_t n = j % 128;
    const unsigned low = byte_at(from, 64 * (j / 128) + n % 64) >> (n < 64 ? 0 : 4) & 15;
    const unsigned high = byte_at(from, 128 + 32 * (j / 128) + n % 32) >> (2 * (n / 32)) & 3;
    block.q[j] = narrow(low | high << 4, 32);
  }
  std::memcpy(block.scale.data(), from + 192, block.scale.size());
  block.d = half_at(from + 208);
}

void q2_0(const std::byte* from, size_t elements, GgmlBlock& block) {
  block.d = half_at(from);
  for (size_t j = 0; j < elements; ++j)
    block.q[j] = narrow(byte_at(from + 2, j / 4) >> (2 * (j % 4)) & 3, 1);
}

void unpack_simple(Dtype dtype, const std::byte* from, GgmlBlock& block) {
  block.scale[0] = 1;
  block.min[0] = 1;
  block.d = half_at(from);
  switch (dtype) {
    case Dtype::kQ4_0:
      return nibbles(from + 2, nullptr, 8, block);
    case Dtype::kQ4_1:
      block.m = -half_at(from + 2);
      return nibbles(from + 4, nullptr, 0, block);
    case Dtype::kQ5_0:
      return nibbles(from + 6, from + 2, 16, block);
    case Dtype::kQ5_1:
      block.m = -half_at(from + 2);
      return nibbles(from + 8, from + 4, 0, block);
    case Dtype::kQ8_0:
      std::memcpy(block.q.data(), from + 2, 32);
      return;
    case Dtype::kTQ1_0:
      trits(from, 32, 5, block.q.data());
      trits(from + 32, 16, 5, block.q.data() + 160);
      trits(from + 48, 4, 4, block.q.data() + 240);
      block.d = half_at(from + 52);
      return;
    case Dtype::kTQ2_0:
      quarters(from, 1, block);
      block.d = half_at(from + 64);
      return;
    case Dtype::kQ2_0:
    case Dtype::kQ2_0Of128:
      return q2_0(from, block_elements(dtype), block);
    default:
      throw std::logic_error("unpack_block: a type without blocks");
  }
}

}  // namespace

int64_t sub_block_elements(Dtype dtype) {
  switch (dtype) {
    case Dtype::kQ2_K:
    case Dtype::kQ3_K:
    case Dtype::kQ6_K:
      return 16;
    case Dtype::kQ4_K:
    case Dtype::kQ5_K:
      return 32;
    default:
      return static_cast<int64_t>(block_elements(dtype));
  }
}

void unpack_block(Dtype dtype, const std::byte* from, GgmlBlock& block) {
  block.m = 0;
  block.min.fill(0);
  switch (dtype) {
    case Dtype::kQ2_K:
      return q2_k(from, block);
    case Dtype::kQ3_K:
      return q3_k(from, block);
    case Dtype::kQ4_K:
    case Dtype::kQ5_K: {
      const bool wide = dtype == Dtype::kQ5_K;
      block.d = half_at(from);
      block.m = half_at(from + 2);
      scales_of_12(from + 4, block);
      return q4_k(from + (wide ? 48 : 16), wide ? from + 16 : nullptr, block);
    }
    case Dtype::kQ6_K:
      return q6_k(from, block);
    default:
      return unpack_simple(dtype, from, block);
  }
}

void block_values(Dtype dtype, const GgmlBlock& block, float* out) {
  const size_t elements = block_elements(dtype);
  const auto run = static_cast<size_t>(sub_block_elements(dtype));
  for (size_t begin = 0; begin < elements; begin += run) {
    const float d = block.d * static_cast<float>(block.scale[begin / run]);
    const float m = block.m * static_cast<float>(block.min[begin / run]);
    for (size_t i = begin; i < begin + run; ++i)
      out[i] = d * static_cast<float>(block.q[i]) - m;
  }
}

}  // namespace sterna::io
