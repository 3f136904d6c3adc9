// The loops of kernels/activation.h for any vector type V.
#pragma once

#include "kernels/activation.h"
#include "kernels/simd_math.h"

namespace sterna::kernels {
namespace {

template <class V>
typename V::F sigmoid(typename V::F x) {
  const auto one = V::set(1.0f);
  return V::div(one, V::add(one, vexp<V>(V::sub(V::set(0.0f), x))));
}

template <class V>
void exponential_body(const float* x, float* y, int64_t size) {
  map<V>(x, x, y, size, [](typename V::F v, typename V::F) { return vexp<V>(v); });
}

template <class V, class T>
void silu_mul_body(const T* gate, const T* up, T* y, int64_t size) {
  map<V>(gate, up, y, size, [](typename V::F g, typename V::F u) {
    return V::mul(rounded<V, T>(V::mul(g, sigmoid<V>(g))), u);
  });
}

template <class V>
struct GatePair {
  typename V::F gate, up;
};

template <class V, class T>
GatePair<V> gate_gradients(typename V::F dy, typename V::F g, typename V::F u) {
  const auto s = sigmoid<V>(g);
  const auto silu = V::mul(g, s);
  // s (1 + g (1 - s)) = s + silu (1 - s)
  const auto slope = V::fma(silu, V::sub(V::set(1.0f), s), s);
  return {V::mul(V::mul(dy, u), slope), V::mul(dy, rounded<V, T>(silu))};
}

template <class V, class T>
void silu_mul_backward_body(const SiluMulGrad<T>& t, int64_t size) {
  walk<V>(
      0,
      size,
      [&](int64_t i) {
        const auto d =
            gate_gradients<V, T>(V::load(t.dy + i), V::load(t.gate + i), V::load(t.up + i));
        V::store(t.d_gate + i, d.gate);
        V::store(t.d_up + i, d.up);
      },
      [&](int64_t i, int64_t n) {
        const auto d = gate_gradients<V, T>(load_tail<V>(t.dy + i, n, 0),
                                            load_tail<V>(t.gate + i, n, 0),
                                            load_tail<V>(t.up + i, n, 0));
        store_tail<V>(t.d_gate + i, n, d.gate);
        store_tail<V>(t.d_up + i, n, d.up);
      });
}

}  // namespace
}  // namespace sterna::kernels
