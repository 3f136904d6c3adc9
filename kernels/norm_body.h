// The rows of kernels/norm.h for any vector type V.
#pragma once

#include "kernels/norm.h"
#include "kernels/simd_math.h"

namespace sterna::kernels {
namespace {

template <class V, class X>
float rms_rstd_body(const X* x, int64_t width, float eps) {
  auto squares = V::set(0);
  const auto take = [&](typename V::F v) { squares = V::fma(v, v, squares); };
  walk<V>(
      0,
      width,
      [&](int64_t i) { take(V::load(x + i)); },
      [&](int64_t i, int64_t n) { take(load_tail<V>(x + i, n, 0)); });
  const double mean = lane_sum<V>(squares) / static_cast<double>(width);
  return static_cast<float>(1 / __builtin_sqrt(mean + eps));
}

template <class V, class X, class Y>
void rms_norm_body(const NormShape& shape, const X* x, const float* weight, Y* y, float* rstd) {
  for (int64_t row = 0; row < shape.rows; ++row, x += shape.width, y += shape.width) {
    rstd[row] = rms_rstd_body<V>(x, shape.width, shape.eps);
    const auto scale = V::set(rstd[row]);
    map<V>(x, weight, y, shape.width, [&](typename V::F v, typename V::F w) {
      return V::mul(w, rounded<V, X>(V::mul(v, scale)));
    });
  }
}

/// mean(dy weight n) of one row.
template <class V, class X, class Y>
float mean_projection(const NormShape& shape, const NormGrad<X, Y>& t, int64_t row) {
  const X* x = t.x + row * shape.width;
  const Y* dy = t.dy + row * shape.width;
  auto sum = V::set(0);
  const auto take = [&](typename V::F v, typename V::F d, typename V::F w) {
    sum = V::fma(V::mul(d, w), v, sum);
  };
  walk<V>(
      0,
      shape.width,
      [&](int64_t i) { take(V::load(x + i), V::load(dy + i), V::load(t.weight + i)); },
      [&](int64_t i, int64_t n) {
        take(load_tail<V>(x + i, n, 0),
             load_tail<V>(dy + i, n, 0),
             load_tail<V>(t.weight + i, n, 0));
      });
  return static_cast<float>(lane_sum<V>(sum) * t.rstd[row] / static_cast<double>(shape.width));
}

template <class V, class X, class Y>
void add_weight_gradient(const NormShape& shape, const NormGrad<X, Y>& t, int64_t row) {
  const X* x = t.x + row * shape.width;
  const Y* dy = t.dy + row * shape.width;
  const auto scale = V::set(t.rstd[row]);
  const auto product = [&](typename V::F v, typename V::F d, typename V::F sum) {
    return V::fma(d, rounded<V, X>(V::mul(v, scale)), sum);
  };
  walk<V>(
      0,
      shape.width,
      [&](int64_t i) {
        const auto sum = V::load(t.dweight + i);
        V::store(t.dweight + i, product(V::load(x + i), V::load(dy + i), sum));
      },
      [&](int64_t i, int64_t n) {
        const auto sum = load_tail<V>(t.dweight + i, n, 0);
        store_tail<V>(
            t.dweight + i, n, product(load_tail<V>(x + i, n, 0), load_tail<V>(dy + i, n, 0), sum));
      });
}

template <class V, class X, class Y>
void rms_norm_backward_body(const NormShape& shape, const NormGrad<X, Y>& t) {
  for (int64_t row = 0; row < shape.rows; ++row) {
    if (t.dweight != nullptr)
      add_weight_gradient<V>(shape, t, row);
    const X* x = t.x + row * shape.width;
    const Y* dy = t.dy + row * shape.width;
    X* dx = t.dx + row * shape.width;
    const auto rstd = V::set(t.rstd[row]);
    const auto along = V::set(mean_projection<V>(shape, t, row));
    const auto project = [&](typename V::F v, typename V::F d, typename V::F w) {
      return V::mul(rstd, V::sub(V::mul(d, w), V::mul(V::mul(v, rstd), along)));
    };
    walk<V>(
        0,
        shape.width,
        [&](int64_t i) {
          V::store(dx + i, project(V::load(x + i), V::load(dy + i), V::load(t.weight + i)));
        },
        [&](int64_t i, int64_t n) {
          store_tail<V>(dx + i,
                        n,
                        project(load_tail<V>(x + i, n, 0),
                                load_tail<V>(dy + i, n, 0),
                                load_tail<V>(t.weight + i, n, 0)));
        });
  }
}

}  // namespace
}  // namespace sterna::kernels
