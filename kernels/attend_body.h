// The loops of kernels/attend.h for any vector type V.
#pragma once

#include <limits>

#include "kernels/attend.h"
#include "kernels/simd_math.h"

namespace sterna::kernels {
namespace {

template <class V, class T>
float dot(const T* a, const T* b, int64_t size) {
  auto sum = V::set(0);
  walk<V>(
      0,
      size,
      [&](int64_t i) { sum = V::fma(V::load(a + i), V::load(b + i), sum); },
      [&](int64_t i, int64_t n) {
        sum = V::fma(load_tail<V>(a + i, n, 0), load_tail<V>(b + i, n, 0), sum);
      });
  return V::sum(sum);
}

/// Turns scores into e^(score - largest). @return  their sum
template <class V>
float exponentials(float* scores, int64_t slots) {
  const auto least = V::set(-std::numeric_limits<float>::infinity());
  auto most = least;
  walk<V>(
      0,
      slots,
      [&](int64_t i) { most = V::max(V::load(scores + i), most); },
      [&](int64_t i, int64_t n) {
        most = V::max(load_tail<V>(scores + i, n, -std::numeric_limits<float>::infinity()), most);
      });
  const auto largest = V::set(V::largest(most));
  auto sum = V::set(0);
  walk<V>(
      0,
      slots,
      [&](int64_t i) {
        const auto e = vexp<V>(V::sub(V::load(scores + i), largest));
        sum = V::add(sum, e);
        V::store(scores + i, e);
      },
      [&](int64_t i, int64_t n) {
        const auto e = vexp<V>(
            V::sub(load_tail<V>(scores + i, n, -std::numeric_limits<float>::infinity()), largest));
        sum = V::add(sum, e);  // e^-infinity is 0
        store_tail<V>(scores + i, n, e);
      });
  return V::sum(sum);
}

/// out[i] = sum over slots of weights[s] values[s][i], times `factor`.
template <class V, class T>
void weighted_rows(
    const AttendShape& shape, const T* values, const float* weights, float factor, T* out) {
  constexpr int64_t kVectors = 4;
  int64_t i = 0;
  for (; i + kVectors * V::kLanes <= shape.width; i += kVectors * V::kLanes) {
    typename V::F sums[kVectors] = {V::set(0), V::set(0), V::set(0), V::set(0)};
    for (int64_t s = 0; s < shape.slots; ++s) {
      const auto weight = V::set(weights[s]);
      for (int64_t j = 0; j < kVectors; ++j)
        sums[j] = V::fma(weight, V::load(values + s * shape.width + i + j * V::kLanes), sums[j]);
    }
    for (int64_t j = 0; j < kVectors; ++j)
      V::store(out + i + j * V::kLanes, V::mul(sums[j], V::set(factor)));
  }
  for (; i < shape.width; i += V::kLanes) {
    const int64_t n = shape.width - i < V::kLanes ? shape.width - i : V::kLanes;
    auto sum = V::set(0);
    for (int64_t s = 0; s < shape.slots; ++s) {
      const T* row = values + s * shape.width + i;
      sum =
          V::fma(V::set(weights[s]), n == V::kLanes ? V::load(row) : load_tail<V>(row, n, 0), sum);
    }
    sum = V::mul(sum, V::set(factor));
    n == V::kLanes ? V::store(out + i, sum) : store_tail<V>(out + i, n, sum);
  }
}

template <class V, class T>
void attend_body(
    const AttendShape& shape, const T* q, const T* keys, const T* values, float* scratch, T* out) {
  for (int64_t s = 0; s < shape.slots; ++s)  // a key is read once for all that share it
    for (int64_t h = 0; h < shape.heads; ++h)
      scratch[h * shape.slots + s] =
          shape.scale * dot<V>(q + h * shape.width, keys + s * shape.width, shape.width);
  for (int64_t h = 0; h < shape.heads; ++h) {
    float* weights = scratch + h * shape.slots;
    const float sum = exponentials<V>(weights, shape.slots);
    weighted_rows<V>(shape, values, weights, 1.0f / sum, out + h * shape.width);
  }
}

}  // namespace
}  // namespace sterna::kernels
