// The loops of kernels/roof.h for any vector type V of code_simd_*.h.
#pragma once

#include "kernels/decode_body.h"
#include "kernels/roof.h"

namespace sterna::kernels {
namespace {

/// Keeps the compiler from working out what the sums come to.
template <class T>
STERNA_BODY void opaque(T& value) {
  asm volatile("" : "+x"(value));
}

template <class V>
int64_t byte_product_body(int64_t rounds) {
  constexpr int kSums = 10;
  typename V::Ints sums[kSums];
  for (auto& sum : sums)
    sum = V::set(0);
  auto codes = V::fill(3), x = V::fill(5);
  for (int64_t i = 0; i < rounds; ++i) {
    opaque(codes);
#pragma GCC unroll 10
    for (auto& sum : sums)
      sum = V::template dot<false>(sum, codes, x);
  }
  for (auto& sum : sums)
    opaque(sum);
  return rounds * kSums * 2 * (64 / V::kParts);
}

template <class V, int Streams>
uint64_t read_body(const uint8_t* p, int64_t bytes) {
  constexpr int64_t kPart = 64 / V::kParts;
  const int64_t apart = bytes / Streams / 64 * 64;
  typename V::Ints sums[8];
  for (auto& sum : sums)
    sum = V::set(0);
  constexpr int kAhead = 8 / Streams;
  for (int64_t i = 0; i + kAhead * kPart <= apart; i += kAhead * kPart) {
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) {
      const auto read = V::load(p + s % Streams * apart + i + s / Streams * kPart);
      sums[s] = V::add(sums[s], read);
    }
  }
  for (int s = 1; s < 8; ++s)
    sums[0] = V::add(sums[0], sums[s]);
  int32_t lanes[16 / V::kParts];
  V::store_ints(lanes, sums[0]);
  uint64_t total = 0;
  for (const int32_t lane : lanes)
    total += static_cast<uint32_t>(lane);
  return total;
}

template <class V>
uint64_t read_streams(const uint8_t* p, int64_t bytes, int streams) {
  switch (streams) {
    case 8:
      return read_body<V, 8>(p, bytes);
    case 4:
      return read_body<V, 4>(p, bytes);
    case 2:
      return read_body<V, 2>(p, bytes);
    default:
      return read_body<V, 1>(p, bytes);
  }
}

}  // namespace
}  // namespace sterna::kernels
