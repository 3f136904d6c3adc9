#pragma once

#include <cstdint>
#include <cstring>

namespace sterna::kernels {

// Sixteen running values as two vectors of eight, written with the compilers' vector types:
// loops with conditions or with sums are not vectorised reliably otherwise, and their order of
// summation would be the compiler's.

using Float8 = float __attribute__((vector_size(32)));
using Int8 = int32_t __attribute__((vector_size(32)));
constexpr int64_t kEight = 8;

#define STERNA_INLINE inline __attribute__((always_inline))

STERNA_INLINE Float8 all(float value) {
  return Float8{} + value;
}

/// Up to eight values; the rest are `fill`.
STERNA_INLINE Float8 load(const float* x, int64_t count, float fill = 0) {
  Float8 v = all(fill);
  if (count >= kEight)
    std::memcpy(&v, x, sizeof v);
  else
    std::memcpy(&v, x, static_cast<size_t>(count) * sizeof(float));
  return v;
}

STERNA_INLINE void store(float* x, int64_t count, const Float8& v) {
  if (count >= kEight)
    std::memcpy(x, &v, sizeof v);
  else
    std::memcpy(x, &v, static_cast<size_t>(count) * sizeof(float));
}

STERNA_INLINE Float8 pick(const Int8& where, const Float8& yes, const Float8& no) {
  return where ? yes : no;
}

STERNA_INLINE Float8 least(const Float8& a, const Float8& b) {
  return a < b ? a : b;
}

STERNA_INLINE Float8 most(const Float8& a, const Float8& b) {
  return a > b ? a : b;
}

STERNA_INLINE Float8 clamp(const Float8& v, const Float8& lo, const Float8& hi) {
  return least(most(v, lo), hi);
}

STERNA_INLINE Float8 magnitude(const Float8& v) {
  return (Float8)((Int8)v & 0x7fffffff);
}

/// To nearest, ties to even, for |v| < 2^22: the sum leaves no room for a fraction.
STERNA_INLINE Float8 round_even(const Float8& v) {
  const Float8 big = all(0x1.8p23f);
  return (v + big) - big;
}

/// Calls body(i, count, half) with i = 0, 8, 16, ...; half is 0 and 1 in turn, count is 8 but for
/// the last call.
template <class Body>
STERNA_INLINE void for_eights(int64_t n, const Body& body) {
  int64_t i = 0;
  for (; i + 2 * kEight <= n; i += 2 * kEight) {
    body(i, kEight, 0);
    body(i + kEight, kEight, 1);
  }
  if (i < n)
    body(i, n - i < kEight ? n - i : kEight, 0);
  if (i + kEight < n)
    body(i + kEight, n - i - kEight, 1);
}

/// Folds sixteen lanes pairwise: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
template <class Fold>
STERNA_INLINE float fold_lanes(const Float8 (&lanes)[2], const Fold& fold) {
  const Float8 eight = fold(lanes[0], lanes[1]);
  const Float8 four = fold(eight, __builtin_shufflevector(eight, eight, 4, 5, 6, 7, 0, 1, 2, 3));
  const Float8 two = fold(four, __builtin_shufflevector(four, four, 2, 3, 0, 1, 6, 7, 4, 5));
  return fold(two, __builtin_shufflevector(two, two, 1, 0, 3, 2, 5, 4, 7, 6))[0];
}

STERNA_INLINE float add_lanes(const Float8 (&lanes)[2]) {
  return fold_lanes(lanes, [](const Float8& a, const Float8& b) { return a + b; });
}

}  // namespace sterna::kernels
