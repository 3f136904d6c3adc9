// What the kernel bodies share, for any vector type V of simd_avx2.h or simd_avx512.h. The unnamed
// namespaces here and in the bodies are the point: the linker must not merge a function that was
// built for AVX-512 with its twin that was not.
#pragma once

#include <cstdint>

#include "kernels/cpu.h"

namespace sterna::kernels {
namespace {

/// e^x within 2 units in the last place; 0 below -104, infinity above 89, NaN stays NaN.
///   x = n ln 2 + r, |r| <= ln 2 / 2;  e^x = 2^n (1 + r + r^2 p(r)), p of degree 5 (Cephes)
template <class V>
typename V::F vexp(typename V::F x) {
  x = V::max(V::set(-104.0f), V::min(V::set(89.0f), x));
  const auto n = V::round(V::mul(x, V::set(1.44269504088896341f)));
  auto r = V::fma(n, V::set(-0.693359375f), x);  // 9 bits: n times this is exact
  r = V::fma(n, V::set(2.12194440e-4f), r);
  auto p = V::set(1.9875691500e-4f);
  p = V::fma(p, r, V::set(1.3981999507e-3f));
  p = V::fma(p, r, V::set(8.3334519073e-3f));
  p = V::fma(p, r, V::set(4.1665795894e-2f));
  p = V::fma(p, r, V::set(1.6666665459e-1f));
  p = V::fma(p, r, V::set(5.0000001201e-1f));
  p = V::fma(p, V::mul(r, r), r);
  return V::scale(V::add(p, V::set(1.0f)), n);
}

/// log x within 2 units in the last place or 1e-7, for normal x > 0; exactly 0 for 1.
///   x = 2^e m, sqrt(1/2) <= m < sqrt 2;  log x = e ln 2 + log m, by a polynomial (Cephes)
template <class V>
typename V::F vlog(typename V::F x) {
  const auto e = V::exponent(V::mul(x, V::set(1.41421356237309505f)));
  const auto f = V::sub(V::scale(x, V::sub(V::set(0), e)), V::set(1.0f));
  const auto square = V::mul(f, f);
  auto p = V::set(7.0376836292e-2f);
  p = V::fma(p, f, V::set(-1.1514610310e-1f));
  p = V::fma(p, f, V::set(1.1676998740e-1f));
  p = V::fma(p, f, V::set(-1.2420140846e-1f));
  p = V::fma(p, f, V::set(1.4249322787e-1f));
  p = V::fma(p, f, V::set(-1.6668057665e-1f));
  p = V::fma(p, f, V::set(2.0000714765e-1f));
  p = V::fma(p, f, V::set(-2.4999993993e-1f));
  p = V::fma(p, f, V::set(3.3333331174e-1f));
  p = V::mul(p, V::mul(f, square));
  p = V::fma(e, V::set(-2.12194440e-4f), p);
  p = V::fma(square, V::set(-0.5f), p);
  return V::fma(e, V::set(0.693359375f), V::add(f, p));
}

/// The first n < kLanes values at x; the other lanes hold `fill`.
template <class V, class T>
typename V::F load_tail(const T* x, int64_t n, float fill) {
  T raw[V::kLanes] = {};
  for (int64_t i = 0; i < n; ++i)
    raw[i] = x[i];
  float lanes[V::kLanes];
  V::store(lanes, V::load(raw));
  for (int64_t i = n; i < V::kLanes; ++i)
    lanes[i] = fill;
  return V::load(lanes);
}

/// Writes the first n lanes.
template <class V, class T>
void store_tail(T* to, int64_t n, typename V::F x) {
  T lanes[V::kLanes];
  V::store(lanes, x);
  for (int64_t i = 0; i < n; ++i)
    to[i] = lanes[i];
}

/// Sum of all lanes, in their order, in double.
template <class V>
double lane_sum(typename V::F x) {
  float lanes[V::kLanes];
  V::store(lanes, x);
  double sum = 0;
  for (int64_t i = 0; i < V::kLanes; ++i)
    sum += lanes[i];
  return sum;
}

/// Calls `whole(i)` for every whole vector at i and `rest(i, n)` for the n values after them.
template <class V, class Whole, class Rest>
inline void walk(int64_t begin, int64_t end, Whole whole, Rest rest) {
  int64_t i = begin;
  for (; i + V::kLanes <= end; i += V::kLanes)
    whole(i);
  if (i < end)
    rest(i, end - i);
}

/// What a store as T would leave of x.
template <class V, class T>
typename V::F rounded(typename V::F x) {
  if constexpr (sizeof(T) == sizeof(float))
    return x;
  else
    return V::to_bf16(x);
}

/// out[i] = op(a[i], b[i]) in float, rounded once. out may be a or b.
template <class V, class A, class B, class Out, class Op>
inline void map(const A* a, const B* b, Out* out, int64_t size, Op op) {
  walk<V>(
      0,
      size,
      [&](int64_t i) { V::store(out + i, op(V::load(a + i), V::load(b + i))); },
      [&](int64_t i, int64_t n) {
        store_tail<V>(out + i, n, op(load_tail<V>(a + i, n, 0), load_tail<V>(b + i, n, 0)));
      });
}

}  // namespace
}  // namespace sterna::kernels
