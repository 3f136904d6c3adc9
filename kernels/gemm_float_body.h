// The product of fp32 activations with packed weights, for any vector type V: weights become
// floats of D (exact), a tile adds up in registers, each group is scaled once.
#pragma once

#include "kernels/gemm_body.h"

namespace sterna::kernels {
namespace {

constexpr int64_t kFloatChunk = 128;

struct FloatScratch {
  alignas(64) uint8_t bytes[kFloatChunk * kMostOutputs];
  alignas(64) float weights[kFloatChunk * kMostOutputs];  ///< [input][panel][16]
  alignas(64) float scales[kMostOutputs];
  alignas(64) float sums[kRowBlock][kMostOutputs];
};

struct FloatTileWork {
  const float* x;
  int64_t stride;
  int64_t inputs;
};

template <class V, int Rows, int Panels>
void float_tile(const FloatTileWork& work, int64_t m, FloatScratch& scratch) {
  constexpr int kVectors = Panels * V::kParts;
  constexpr int kOutputs = 16 / V::kParts;
  typename V::Floats sum[Rows][kVectors];
#pragma GCC unroll 12
  for (auto& row : sum)
#pragma GCC unroll 12
    for (auto& v : row)
      v = V::zero();
  const float* x = work.x + m * work.stride;
  const float* weights = scratch.weights;
  for (int64_t i = 0; i < work.inputs; ++i, weights += Panels * kPanelRows) {
    typename V::Floats w[kVectors];
#pragma GCC unroll 12
    for (int v = 0; v < kVectors; ++v)
      w[v] = V::load_floats(weights + v * kOutputs);
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const auto one = V::set_float(x[r * work.stride + i]);
#pragma GCC unroll 12
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = V::fma(w[v], one, sum[r][v]);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
#pragma GCC unroll 12
    for (int v = 0; v < kVectors; ++v) {
      float* to = scratch.sums[m + r] + v * kOutputs;
      const auto scaled = V::mul(sum[r][v], V::load_floats(scratch.scales + v * kOutputs));
      V::store_floats(to, V::add(V::load_floats(to), scaled));
    }
  }
}

template <class V, int Panels, int Rows = V::kTileRows>
void float_tile_of(int64_t rows, const FloatTileWork& work, int64_t m, FloatScratch& scratch) {
  if constexpr (Rows > 0) {
    if (rows == Rows)
      float_tile<V, Rows, Panels>(work, m, scratch);
    else
      float_tile_of<V, Panels, Rows - 1>(rows, work, m, scratch);
  }
}

template <class V>
class FloatGemm {
 public:
  FloatGemm(const PackedMatrix& w, int64_t m, const float* x, const OutputRange& range, float* y)
      : w_(w), m_(m), x_(x), range_(range), y_(y), by_(w) {}

  void run() {
    for (int64_t n = range_.begin; n < range_.end; n += V::kTilePanels * kPanelRows) {
      const bool both = V::kTilePanels == 2 && range_.end - n > kPanelRows;
      for (int64_t m = 0; m < m_; m += kRowBlock) {
        const int64_t tokens = std::min(kRowBlock, m_ - m);
        std::memset(scratch_.sums, 0, sizeof scratch_.sums[0] * static_cast<size_t>(tokens));
        if (both)
          block<V::kTilePanels>(n, m, tokens);
        else
          block<1>(n, m, tokens);
        write(n, both ? V::kTilePanels : 1, m, tokens);
      }
    }
  }

 private:
  template <int Panels>
  void block(int64_t n, int64_t m, int64_t tokens) {
    for (int64_t g = 0; g < w_.groups(); ++g) {
      for (int64_t begin = 0; begin < w_.group; begin += kFloatChunk) {
        const int64_t end = std::min(begin + kFloatChunk, w_.group);
        decode_chunk<Panels>(n, g, begin, end);
        const FloatTileWork work{x_ + m * w_.k + g * w_.group + begin, w_.k, end - begin};
        const int64_t tiles = (tokens + V::kTileRows - 1) / V::kTileRows;
        for (int64_t i = 0; i < tiles; ++i) {
          const int64_t from = tokens * i / tiles;
          float_tile_of<V, Panels>(tokens * (i + 1) / tiles - from, work, from, scratch_);
        }
      }
    }
  }

  template <int Panels>
  void decode_chunk(int64_t n, int64_t g, int64_t begin, int64_t end) {
    const int64_t padded = (end + kBlockInputs - 1) / kBlockInputs * kBlockInputs;
    const DecodeSpan span{begin, padded, Panels * kQuadBytes};
    with_format(w_, [&](auto format) {
      for (int p = 0; p < Panels; ++p) {
        const uint8_t* group = group_at(w_, n + p * kPanelRows, g);
        decode_span<V, format()>(w_, by_, group, span, scratch_.bytes + p * kQuadBytes);
#pragma GCC unroll 12
        for (int part = 0; part < V::kParts; ++part) {
          const int64_t at = p * kPanelRows + part * (16 / V::kParts);
          V::store_floats(scratch_.scales + at, scales_of<V>(w_, group, part));
          to_floats<Panels>((padded - begin) / 4, at, zeros_of<V>(w_, group, part));
        }
      }
    });
  }

  /// Bytes of outputs `at` on become floats of D.
  template <int Panels>
  void to_floats(int64_t quads, int64_t at, typename V::Ints zeros) {
    for (int64_t quad = 0; quad < quads; ++quad) {
      const auto bytes = V::load(scratch_.bytes + quad * Panels * kQuadBytes + at * 4);
      float* to = scratch_.weights + quad * 4 * Panels * kPanelRows + at;
      put<Panels>(V::template byte<0>(bytes), zeros, to);
      put<Panels>(V::template byte<1>(bytes), zeros, to + Panels * kPanelRows);
      put<Panels>(V::template byte<2>(bytes), zeros, to + 2 * Panels * kPanelRows);
      put<Panels>(V::template byte<3>(bytes), zeros, to + 3 * Panels * kPanelRows);
    }
  }

  template <int Panels>
  void put(typename V::Ints codes, typename V::Ints zeros, float* to) {
    if (w_.format == CodeFormat::kTable)
      V::store_floats(to, V::look_up(V::float_table(w_.levels), codes));
    else
      V::store_floats(to, V::to_floats(V::sub(codes, zeros)));
  }

  void write(int64_t n, int64_t panels, int64_t m, int64_t tokens) {
    const int64_t outputs = std::min(panels * kPanelRows, range_.end - n);
    for (int64_t t = 0; t < tokens; ++t)
      std::memcpy(
          y_ + (m + t) * w_.n + n, scratch_.sums[t], static_cast<size_t>(outputs) * sizeof(float));
  }

  const PackedMatrix& w_;
  int64_t m_;
  const float* x_;
  OutputRange range_;
  float* y_;
  Decoder<V> by_;
  FloatScratch scratch_;
};

}  // namespace
}  // namespace sterna::kernels
