// The product of many tokens with packed weights, for any vector type V. Weights of two panels and
// up to kChunk inputs are decoded once into bytes that stay in the first cache; tiles of rows run
// over them with their sums in registers.
#pragma once

#include <algorithm>

#include "kernels/decode_body.h"
#include "kernels/matmul.h"

namespace sterna::kernels {
namespace {

constexpr int64_t kChunk = 512;  ///< inputs decoded at once
constexpr int64_t kRowBlock =
    96;  ///< rows of activations that use what was decoded; thirds and halves of it are whole
constexpr int64_t kMostPanels = 2;
constexpr int64_t kMostOutputs = kMostPanels * kPanelRows;
constexpr int64_t kMostGroups = kChunk / kBlockInputs;

/// Inputs that one call of a tile adds up: a group, or a part of a long one.
struct Segment {
  int64_t group = 0;
  int64_t begin = 0;  ///< in the group
  int64_t end = 0;
  bool first = false;  ///< of its group
  bool last = false;
};

/// What is decoded of the weights, and the sums of a block of rows.
struct Scratch {
  alignas(64) uint8_t bytes[kChunk * kMostOutputs];
  alignas(64) float scales[kMostGroups][kMostOutputs];
  alignas(64) int32_t zeros[kMostGroups][kMostOutputs];
  alignas(64) float sums[kRowBlock][kMostOutputs];
  alignas(64) int32_t parts[kRowBlock][kMostOutputs];  ///< of a group that is not whole yet
};

/// A segment as it lies in the scratch.
struct TileWork {
  const int8_t* x;        ///< at the segment's first input of row 0
  int64_t stride;         ///< between rows
  int64_t planes;         ///< rows that are one token
  const float* x_scales;  ///< of row 0
  const int32_t* x_sums;  ///< of row 0 and the group
  int64_t sums_stride;
  const uint8_t* bytes;
  const float* scales;
  const int32_t* zeros;
  int64_t quads;
  bool first;
  bool last;
};

/// `Rows` rows of activations times `Panels` panels.
template <class V, bool Wide, int Rows, int Panels>
void tile(const TileWork& work, int64_t m, Scratch& scratch) {
  constexpr int kVectors = Panels * V::kParts;
  constexpr int kOutputs = 16 / V::kParts;
  typename V::Ints sum[Rows][kVectors];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    const auto x_sum = V::set(work.x_sums[(m + r) * work.sums_stride]);
#pragma GCC unroll 12
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = work.first
                      ? V::sub(V::set(0), V::mul(V::load_ints(work.zeros + v * kOutputs), x_sum))
                      : V::load_ints(scratch.parts[m + r] + v * kOutputs);
  }
  const int8_t* x = work.x + m * work.stride;
  const uint8_t* bytes = work.bytes;
  for (int64_t quad = 0; quad < work.quads; ++quad, x += 4, bytes += Panels * kQuadBytes) {
    typename V::Bytes codes[kVectors];
#pragma GCC unroll 12
    for (int v = 0; v < kVectors; ++v)
      codes[v] = V::load(bytes + v * (kQuadBytes / V::kParts));
#pragma GCC unroll 12
    for (int r = 0; r < Rows; ++r) {
      const auto four = V::quad(x + r * work.stride);
#pragma GCC unroll 12
      for (int v = 0; v < kVectors; ++v)
        sum[r][v] = V::template dot<Wide>(sum[r][v], codes[v], four);
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) {
    const auto x_scale = V::set_float(work.x_scales[m + r]);
#pragma GCC unroll 12
    for (int v = 0; v < kVectors; ++v) {
      if (!work.last) {
        V::store_ints(scratch.parts[m + r] + v * kOutputs, sum[r][v]);
        continue;
      }
      float* to = scratch.sums[(m + r) / work.planes] + v * kOutputs;
      const auto scale = V::mul(V::load_floats(work.scales + v * kOutputs), x_scale);
      V::store_floats(to, V::add(V::load_floats(to), V::mul(V::to_floats(sum[r][v]), scale)));
    }
  }
}

template <class V, bool Wide, int Panels, int Rows = V::kTileRows>
void tile_of(int64_t rows, const TileWork& work, int64_t m, Scratch& scratch) {
  if constexpr (Rows > 0) {
    if (rows == Rows)
      tile<V, Wide, Rows, Panels>(work, m, scratch);
    else
      tile_of<V, Wide, Panels, Rows - 1>(rows, work, m, scratch);
  }
}

/// Tiles of rows of activations whose sums fit the vector registers.
struct RegisterTiles {
  /// @param wide  bytes may be 128 and more
  template <class V, int Panels>
  static void run(const TileWork& work, int64_t count, bool wide, Scratch& scratch) {
    // Tiles of like size: sixteen rows are twice eight, not twelve and four.
    const int64_t tiles = (count + V::kTileRows - 1) / V::kTileRows;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t begin = count * i / tiles;
      const int64_t rows = count * (i + 1) / tiles - begin;
      if (wide)
        tile_of<V, true, Panels>(rows, work, begin, scratch);
      else
        tile_of<V, false, Panels>(rows, work, begin, scratch);
    }
  }
};

template <class V, class Tiles = RegisterTiles>
class Gemm {
 public:
  Gemm(const PackedMatrix& w, const QuantizedRows& x, const OutputRange& range, float* y)
      : w_(w), x_(x), range_(range), y_(y), by_(w) {}

  void run() {
    for (int64_t n = range_.begin; n < range_.end; n += V::kTilePanels * kPanelRows) {
      const bool both = V::kTilePanels == 2 && range_.end - n > kPanelRows;
      const int64_t rows = x_.m * x_.planes;
      for (int64_t m = 0; m < rows; m += kRowBlock) {
        const int64_t here = std::min(kRowBlock, rows - m);
        std::memset(scratch_.sums, 0, sizeof scratch_.sums[0] * static_cast<size_t>(here));
        if (both)
          block<V::kTilePanels>(n, m, here);
        else
          block<1>(n, m, here);
        write(n, both ? V::kTilePanels : 1, m / x_.planes, here / x_.planes);
      }
    }
  }

 private:
  template <int Panels>
  void block(int64_t n, int64_t m, int64_t rows) {
    // Whole groups while they are short, parts of one where it is long.
    const int64_t at_once = w_.group < kChunk ? kChunk / w_.group : 1;
    for (int64_t g = 0; g < w_.groups(); g += at_once) {
      const int64_t groups = std::min(at_once, w_.groups() - g);
      for (int64_t begin = 0; begin < w_.group; begin += kChunk) {
        const int64_t end = std::min(begin + kChunk, w_.group);
        decode_chunk<Panels>(n, g, groups, begin, end);
        for (int64_t i = 0; i < groups; ++i)
          segment<Panels>({g + i, begin, end, begin == 0, end == w_.group}, i, m, rows);
      }
    }
  }

  /// @param groups  more than one only where they are whole
  template <int Panels>
  void decode_chunk(int64_t n, int64_t g, int64_t groups, int64_t begin, int64_t end) {
    const int64_t padded = (end + kBlockInputs - 1) / kBlockInputs * kBlockInputs;
    const DecodeSpan span{begin, padded, Panels * kQuadBytes};
    with_format(w_, [&](auto format) {
      for (int64_t i = 0; i < groups; ++i) {
        for (int p = 0; p < Panels; ++p) {
          const uint8_t* group = group_at(w_, n + p * kPanelRows, g + i);
          uint8_t* out = scratch_.bytes + i * quads(begin, end) * Panels * kQuadBytes;
          decode_span<V, format()>(w_, by_, group, span, out + p * kQuadBytes);
#pragma GCC unroll 12
          for (int part = 0; part < V::kParts; ++part) {
            const int64_t at = p * kPanelRows + part * (16 / V::kParts);
            V::store_ints(scratch_.zeros[i] + at, zeros_of<V>(w_, group, part));
            V::store_floats(scratch_.scales[i] + at, scales_of<V>(w_, group, part));
          }
        }
      }
    });
  }

  /// Fours of inputs that are decoded: whole blocks.
  static int64_t quads(int64_t begin, int64_t end) {
    return (end - begin + kBlockInputs - 1) / kBlockInputs * (kBlockInputs / 4);
  }

  template <int Panels>
  void segment(const Segment& s, int64_t at, int64_t m, int64_t rows) {
    const int64_t stride = activation_stride(x_.k);
    TileWork work;
    work.x = x_.codes + m * stride + s.group * w_.group + s.begin;
    work.stride = stride;
    work.planes = x_.planes;
    work.x_scales = x_.scales + m;
    work.x_sums = x_.sums + m * w_.groups() + s.group;
    work.sums_stride = w_.groups();
    work.quads = quads(s.begin, s.end);
    work.bytes = scratch_.bytes + at * work.quads * Panels * kQuadBytes;
    work.scales = scratch_.scales[at];
    work.zeros = scratch_.zeros[at];
    work.first = s.first;
    work.last = s.last;
    const bool wide = w_.format == CodeFormat::kEightBit;
    Tiles::template run<V, Panels>(work, rows, wide, scratch_);
  }

  void write(int64_t n, int64_t panels, int64_t m, int64_t tokens) {
    const int64_t outputs = std::min(panels * kPanelRows, range_.end - n);
    for (int64_t t = 0; t < tokens; ++t)
      std::memcpy(
          y_ + (m + t) * w_.n + n, scratch_.sums[t], static_cast<size_t>(outputs) * sizeof(float));
  }

  const PackedMatrix& w_;
  const QuantizedRows& x_;
  OutputRange range_;
  float* y_;
  Decoder<V> by_;
  Scratch scratch_;
};

}  // namespace
}  // namespace sterna::kernels
