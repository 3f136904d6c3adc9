// The product of one token with packed weights, for any vector type V: as fast as the weights can
// be read. Several panels are read side by side, which keeps several streams of memory going and
// shares each broadcast of activations.
#pragma once

#include <algorithm>

#include "kernels/decode_body.h"
#include "kernels/matmul.h"

namespace sterna::kernels {
namespace {

/// Two sums for a vector of codes: where a code need not be shifted down all the way, the second
/// holds four times what belongs to it.
template <class V, CodeFormat F>
struct VectorSum {
  typename V::Ints sum = V::set(0);
  typename V::Ints fourfold = V::set(0);

  /// @param x  the activations of each step
  STERNA_BODY void take(const Decoder<V>& by,
                        typename V::Bytes raw,
                        typename V::Bytes half_zeros,
                        const typename V::Bytes* x) {
    constexpr bool kWide = F == CodeFormat::kEightBit;
    if constexpr (F == CodeFormat::kTwoBit) {
      const auto low = V::fill(0x03), high = V::fill(0x0c);
      const auto upper = V::template right<4>(raw);
      sum = V::template dot<false>(sum, V::both(raw, low), x[0]);
      fourfold = V::template dot<false>(fourfold, V::both(raw, high), x[1]);
      sum = V::template dot<false>(sum, V::both(upper, low), x[2]);
      fourfold = V::template dot<false>(fourfold, V::both(upper, high), x[3]);
    } else {
      sum = V::template dot<kWide>(sum, decode<V, F, 0>(by, raw, half_zeros), x[0]);
      if constexpr (steps_of(F) == 2)
        sum = V::template dot<false>(sum, decode<V, F, 1>(by, raw, half_zeros), x[1]);
    }
  }

  /// Sum of (D + zero) x.
  STERNA_BODY typename V::Ints total() const {
    if constexpr (F == CodeFormat::kTwoBit)
      return V::add(V::add(sum, sum), V::half(fourfold));
    else
      return sum;
  }
};

/// `Streams` panels, the first of which begins at output n.
template <class V, CodeFormat F, int Streams>
void gemv_panels(
    const PackedMatrix& w, const Decoder<V>& by, const QuantizedRows& x, int64_t n, float* y) {
  constexpr int kSteps = steps_of(F);
  constexpr int64_t kPart = 64 / V::kParts;
  const int64_t units = w.group_blocks() * w.block_bytes() / 64;
  const int64_t apart = w.panel_bytes();
  const auto x_scale = V::set_float(x.scales[0]);
  typename V::Floats out[Streams][V::kParts];
  for (auto& stream : out)
    for (auto& part : stream)
      part = V::zero();
  for (int64_t g = 0; g < w.groups(); ++g) {
    const uint8_t* group = group_at(w, n, g);
    const int8_t* quad = x.codes + g * w.group;
    VectorSum<V, F> sums[Streams][V::kParts];
    typename V::Bytes half_zeros[Streams][V::kParts];
    for (int s = 0; s < Streams; ++s)
      for (int part = 0; part < V::kParts; ++part)
        half_zeros[s][part] = half_zeros_of<V>(w, group + s * apart, part);
    const uint8_t* from = group;
    for (int64_t unit = 0; unit < units; ++unit, from += 64, quad += 4 * kSteps) {
      typename V::Bytes four[kSteps];
      for (int step = 0; step < kSteps; ++step)
        four[step] = V::quad(quad + 4 * step);
#pragma GCC unroll 8
      for (int s = 0; s < Streams; ++s)
        for (int part = 0; part < V::kParts; ++part)
          sums[s][part].take(
              by, V::load(from + s * apart + part * kPart), half_zeros[s][part], four);
    }
    const auto x_sum = V::set(x.sums[g]);
    for (int s = 0; s < Streams; ++s) {
      for (int part = 0; part < V::kParts; ++part) {
        const uint8_t* at = group + s * apart;
        const auto whole = V::sub(sums[s][part].total(), V::mul(zeros_of<V>(w, at, part), x_sum));
        const auto scale = V::mul(scales_of<V>(w, at, part), x_scale);
        out[s][part] = V::add(out[s][part], V::mul(V::to_floats(whole), scale));
      }
    }
  }
  float sums[Streams * kPanelRows];
  for (int s = 0; s < Streams; ++s)
    for (int part = 0; part < V::kParts; ++part)
      V::store_floats(sums + s * kPanelRows + part * (16 / V::kParts), out[s][part]);
  std::memcpy(
      y + n,
      sums,
      static_cast<size_t>(std::min<int64_t>(Streams * kPanelRows, w.n - n)) * sizeof(float));
}

template <class V, CodeFormat F, int Streams = V::kStreams>
void gemv_from(const PackedMatrix& w,
               const Decoder<V>& by,
               const QuantizedRows& x,
               OutputRange range,
               float* y) {
  // By panels that are there: the last may have fewer outputs.
  for (; range.end - range.begin > (Streams - 1) * kPanelRows; range.begin += Streams * kPanelRows)
    gemv_panels<V, F, Streams>(w, by, x, range.begin, y);
  if constexpr (Streams > 1) {
    if (range.begin < range.end)
      gemv_from<V, F, Streams / 2>(w, by, x, range, y);
  }
}

/// @param x  of one token
template <class V>
void gemv(const PackedMatrix& w, const QuantizedRows& x, const OutputRange& range, float* y) {
  const Decoder<V> by(w);
  with_format(w, [&](auto format) { gemv_from<V, format()>(w, by, x, range, y); });
}

}  // namespace
}  // namespace sterna::kernels
