// The product of few tokens with packed weights, for any vector type V: as fast as the weights can
// be read. Several panels are read side by side, which keeps several streams of memory going and
// shares each broadcast of activations; nothing is decoded twice.
#pragma once

#include <algorithm>

#include "kernels/decode_body.h"
#include "kernels/matmul.h"

namespace sterna::kernels {
namespace {

/// Sums of its own for codes that are not shifted down all the way: two-bit codes of odd steps
/// count four times.
constexpr int classes_of(CodeFormat format) {
  return format == CodeFormat::kTwoBit ? 2 : 1;
}

/// Step S of 64 (/ kParts) packed bytes, for the sums of class S % classes_of(F).
template <class V, CodeFormat F, int S>
STERNA_BODY typename V::Bytes step_bytes(const Decoder<V>& by,
                                         typename V::Bytes raw,
                                         typename V::Bytes half_zeros) {
  if constexpr (F == CodeFormat::kTwoBit) {
    const auto mask = V::fill(S % 2 == 0 ? 0x03 : 0x0c);
    if constexpr (S < 2)
      return V::both(raw, mask);
    else
      return V::both(V::template right<4>(raw), mask);
  } else {
    return decode<V, F, S>(by, raw, half_zeros);
  }
}

/// `Rows` rows of activations with `Streams` panels.
template <class V, CodeFormat F, int Streams, int Rows>
class GemvPanels {
 public:
  GemvPanels(const PackedMatrix& w, const Decoder<V>& by, const QuantizedRows& x, int64_t n)
      : w_(w),
        by_(by),
        x_(x),
        n_(n),
        stride_(activation_stride(x.k)),
        apart_(w.panel_bytes()),
        groups_(w.groups()) {}

  void run(float* y) const {
    constexpr int64_t kLine = Streams * kPanelRows;
    alignas(64) float out[Rows * kLine] = {};
    for (int64_t g = 0; g < groups_; ++g)
      add_group(g, out);
    const auto outputs = static_cast<size_t>(std::min<int64_t>(kLine, w_.n - n_));
    for (int64_t m = 0; m < x_.m; ++m)
      std::memcpy(y + m * w_.n + n_, out + m * kLine, outputs * sizeof(float));
  }

 private:
  static constexpr int kVectors = Streams * V::kParts;
  static constexpr int kSteps = steps_of(F);
  static constexpr int kClasses = classes_of(F);
  static constexpr int64_t kPart = 64 / V::kParts;

  /// Where vector v of a group's first 64 bytes lies, from the first panel's on.
  STERNA_BODY int64_t at(int v) const { return v / V::kParts * apart_ + v % V::kParts * kPart; }

  void add_group(int64_t g, float* out) const {
    typename V::Ints sum[kClasses][Rows][kVectors];
#pragma GCC unroll 2
    for (int c = 0; c < kClasses; ++c)
#pragma GCC unroll 4
      for (int r = 0; r < Rows; ++r)
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v)
          sum[c][r][v] = V::set(0);
    const uint8_t* group = group_at(w_, n_, g);
    const int64_t units = w_.group_blocks() * w_.block_bytes() / 64;
    const int8_t* x = x_.codes + g * w_.group;
    typename V::Bytes half_zeros[kVectors];
    if constexpr (F == CodeFormat::kDint) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v)
        half_zeros[v] = half_zeros_of<V>(w_, group + v / V::kParts * apart_, v % V::kParts);
    }
    const uint8_t* from = group;
    for (int64_t unit = 0; unit < units; ++unit, from += 64, x += 4 * kSteps) {
      step<0>(half_zeros, from, x, sum);
      if constexpr (kSteps > 1)
        step<1>(half_zeros, from, x, sum);
      if constexpr (kSteps > 2) {
        step<2>(half_zeros, from, x, sum);
        step<3>(half_zeros, from, x, sum);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        auto total = sum[0][r][v];
        if constexpr (kClasses == 2)
          total = V::add(V::add(total, total), V::half(sum[kClasses - 1][r][v]));
        finish(g, group, r, v, total, out);
      }
    }
  }

  template <int S>
  STERNA_BODY void step([[maybe_unused]] const typename V::Bytes (&half_zeros)[kVectors],
                        const uint8_t* from,
                        const int8_t* x,
                        typename V::Ints (&sum)[kClasses][Rows][kVectors]) const {
    typename V::Bytes codes[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      if constexpr (F == CodeFormat::kDint)
        codes[v] = step_bytes<V, F, S>(by_, V::load(from + at(v)), half_zeros[v]);
      else
        codes[v] = step_bytes<V, F, S>(by_, V::load(from + at(v)), V::fill(0));
    }
#pragma GCC unroll 4
    for (int r = 0; r < Rows; ++r) {
      const auto four = V::quad(x + r * stride_ + 4 * S);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v)
        sum[S % kClasses][r][v] =
            V::template dot<F == CodeFormat::kEightBit>(sum[S % kClasses][r][v], codes[v], four);
    }
  }

  STERNA_BODY void finish(
      int64_t g, const uint8_t* group, int r, int v, typename V::Ints total, float* out) const {
    const uint8_t* panel = group + v / V::kParts * apart_;
    const int part = v % V::kParts;
    const auto x_sum = V::set(x_.sums[r * groups_ + g]);
    const auto whole = V::sub(total, V::mul(zeros_of<V>(w_, panel, part), x_sum));
    const auto scale = V::mul(scales_of<V>(w_, panel, part), V::set_float(x_.scales[r]));
    float* to = out + r / x_.planes * Streams * kPanelRows + v * (16 / V::kParts);
    V::store_floats(to, V::add(V::load_floats(to), V::mul(V::to_floats(whole), scale)));
  }

  const PackedMatrix& w_;
  const Decoder<V>& by_;
  const QuantizedRows& x_;
  int64_t n_;
  int64_t stride_;  // between rows of activations
  int64_t apart_;   // between panels
  int64_t groups_;
};

template <class V, CodeFormat F, int Rows, int Streams = V::streams(Rows* classes_of(F))>
void gemv_from(const PackedMatrix& w,
               const Decoder<V>& by,
               const QuantizedRows& x,
               OutputRange range,
               float* y) {
  // By panels that are there: the last may have fewer outputs.
  for (; range.end - range.begin > (Streams - 1) * kPanelRows; range.begin += Streams * kPanelRows)
    GemvPanels<V, F, Streams, Rows>(w, by, x, range.begin).run(y);
  if constexpr (Streams > 1) {
    if (range.begin < range.end)
      gemv_from<V, F, Rows, Streams / 2>(w, by, x, range, y);
  }
}

constexpr int64_t kGemvRows = 4;

/// @param x  of at most kGemvRows rows
template <class V>
void gemv(const PackedMatrix& w, const QuantizedRows& x, const OutputRange& range, float* y) {
  const Decoder<V> by(w);
  with_format(w, [&](auto format) {
    switch (x.m * x.planes) {
      case 1:
        return gemv_from<V, format(), 1>(w, by, x, range, y);
      case 2:
        return gemv_from<V, format(), 2>(w, by, x, range, y);
      case 3:
        return gemv_from<V, format(), 3>(w, by, x, range, y);
      default:
        return gemv_from<V, format(), 4>(w, by, x, range, y);
    }
  });
}

}  // namespace
}  // namespace sterna::kernels
