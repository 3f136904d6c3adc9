// The product of many tokens with packed weights on tensor cores. A block computes 128 outputs of a
// block of tokens; codes and activations come into shared memory some chunks of 128 inputs ahead.
// Weights are the first operand: each warp decodes its own 32 outputs' codes in registers, once,
// and multiplies them by all tokens of the block. Included behind gpu_device.h, or what stands in
// for it.
#pragma once

#include "kernels/gpu_layout.h"

namespace sterna::kernels {
namespace {

/// Rows of activations, of bytes or bf16.
struct GemmRows {
  const uint8_t* rows = nullptr;  ///< aligned to 16 bytes
  int64_t m = 0;
  int64_t stride = 0;             ///< bytes, a multiple of 16; past the last input are zeros
  const float* scales = nullptr;  ///< [M], of bytes
  const int32_t* sums = nullptr;  ///< [M, G], of bytes
};

/// By bytes: tokens of a block, and the layout of a token's chunk: pieces of 16 bytes, swizzled so
/// that the lanes of one access lie in different banks.
struct ByBytes {
  using Sum = int32_t;
  static constexpr int kTokens = 64;
  static constexpr int kChunkBytes = 128;
  static STERNA_BOTH int placed(int token, int piece) { return piece ^ (token & 3) << 1; }
};
struct ByBf16 {
  using Sum = float;
  static constexpr int kTokens = 32;
  static constexpr int kChunkBytes = 256;
  static STERNA_BOTH int placed(int token, int piece) { return piece ^ (token & 1) << 2; }
};

template <CodeFormat F, class By>
class Gemm {
  static constexpr int kWarpTiles = 2;
  static constexpr int kTiles = 8;
  static constexpr int kChunkSteps = 4;
  static constexpr int kUnits = kChunkSteps / UnitOf<F>::kSteps;
  static constexpr int kEights = By::kTokens / 8;  ///< of tokens
  static constexpr int kWeightBytes = kTiles * kUnits * kUnitBytes;
  static constexpr int kStageBytes = kWeightBytes + By::kTokens * By::kChunkBytes;
  static constexpr int kStages = 49152 / kStageBytes;  ///< of what every GPU gives unasked

 public:
  static constexpr int kThreads = 128;
  static constexpr int kOutputs = kTiles * kPanelRows;
  static constexpr int kTokens = By::kTokens;
  struct alignas(16) Shared {
    uint8_t stages[kStages][kStageBytes];
  };

  STERNA_GPU Gemm(const GpuMatrix& w, const GemmRows& x, Shared& shared)
      : w_(w),
        x_(x),
        shared_(shared),
        lane_(gpu::thread() % 32),
        warp_(gpu::thread() / 32),
        tile_(gpu::block_x() * kTiles),
        token_(static_cast<int64_t>(gpu::block_y()) * kTokens),
        tables_{TileTables(w, tile_of(0)), TileTables(w, tile_of(1))},
        units_(units_of<F>(w.k)),
        groups_(static_cast<int>(w.groups())),
        group_steps_((static_cast<int>(w.group) + kStepInputs - 1) / kStepInputs) {}

  STERNA_GPU void run(float* y) {
    const int chunks = static_cast<int>((w_.k + kInputs - 1) / kInputs);
    for (int c = 0; c < kStages - 1; ++c)
      fetch(c, chunks);
    begin();
    for (int c = 0; c < chunks; ++c) {
      gpu::wait<kStages - 2>();
      gpu::sync();  // all see chunk c, none reads chunk c - 1 any more
      fetch(c + kStages - 1, chunks);
      multiply_chunk(shared_.stages[c % kStages]);
    }
    write(y);
  }

 private:
  static constexpr int kInputs = kChunkSteps * kStepInputs;

  STERNA_GPU void fetch(int chunk, int chunks) {
    if (chunk < chunks) {
      uint8_t* stage = shared_.stages[chunk % kStages];
      fetch_codes(chunk, stage);
      fetch_rows(chunk, stage + kWeightBytes);
    }
    gpu::commit();
  }

  STERNA_GPU void fetch_codes(int chunk, uint8_t* to) {
    for (int i = gpu::thread(); i < kTiles * kUnits * 32; i += kThreads) {
      const int64_t tile = tile_ + i / 32 / kUnits, unit = chunk * kUnits + i / 32 % kUnits;
      const bool there = tile < w_.tiles() && unit < units_;
      const int64_t at = there ? (tile * units_ + unit) * kUnitBytes + i % 32 * 16 : 0;
      gpu::copy_later(to + i * 16, w_.data + at, there);
    }
  }

  STERNA_GPU void fetch_rows(int chunk, uint8_t* to) {
    constexpr int kPieces = By::kChunkBytes / 16;
    for (int i = gpu::thread(); i < kTokens * kPieces; i += kThreads) {
      const int token = i / kPieces, piece = i % kPieces;
      const int64_t in_row = static_cast<int64_t>(chunk) * By::kChunkBytes + piece * 16;
      const bool there = token_ + token < x_.m && in_row < x_.stride;
      const int64_t at = there ? (token_ + token) * x_.stride + in_row : 0;
      uint8_t* place = to + token * By::kChunkBytes + By::placed(token, piece) * 16;
      gpu::copy_later(place, x_.rows + at, there);
    }
  }

  STERNA_GPU void multiply_chunk(const uint8_t* stage) {
    constexpr int kSteps = UnitOf<F>::kSteps;
    Words raw[kWarpTiles];
    STERNA_ROLLED for (int step = 0; step < kChunkSteps; ++step) {
      uint32_t quads[kWarpTiles][2][2];
      STERNA_UNROLL for (int t = 0; t < kWarpTiles; ++t) {
        const int slot = (warp_ * kWarpTiles + t) * kUnits + step / kSteps;
        if (step % kSteps == 0)
          raw[t] = *reinterpret_cast<const Words*>(stage + slot * kUnitBytes + lane_ * 16);
        decode_step<F, 0, false>(raw[t], last_[t], quads[t]);
        next_step<F>(step % kSteps, raw[t]);
      }
      if constexpr (kBytes)
        multiply_bytes(stage + kWeightBytes, step, quads);
      else
        multiply_bf16(stage + kWeightBytes, step, quads);
      if (--left_ == 0)
        end_group();
    }
  }

  STERNA_GPU void multiply_bytes(const uint8_t* rows,
                                 int step,
                                 const uint32_t (&quads)[kWarpTiles][2][2]) {
    STERNA_UNROLL for (int e = 0; e < kEights; ++e) {
      const int token = e * 8 + lane_ / 4, piece = step * 2 + lane_ % 4 / 2;
      const uint8_t* at = rows + token * By::kChunkBytes + By::placed(token, piece) * 16;
      const Pair eight = *reinterpret_cast<const Pair*>(at + lane_ % 2 * 8);
      const uint32_t b[2] = {eight.a, eight.b};
      STERNA_UNROLL for (int t = 0; t < kWarpTiles; ++t) {
        const uint32_t a[4] = {quads[t][0][0], quads[t][1][0], quads[t][0][1], quads[t][1][1]};
        gpu::multiply(sums_[t][e], a, b);
      }
    }
  }

  /// The two quads of a step are the two products of 16 inputs that a step is in bf16.
  STERNA_GPU void multiply_bf16(const uint8_t* rows,
                                int step,
                                const uint32_t (&quads)[kWarpTiles][2][2]) {
    uint32_t a[kWarpTiles][2][4];
    STERNA_UNROLL for (int t = 0; t < kWarpTiles; ++t) {
      STERNA_UNROLL for (int h = 0; h < 2; ++h) {
        STERNA_UNROLL for (int r = 0; r < 2; ++r) {
          const uint32_t quad = quads[t][h][r];
          const float offset = offsets_[t][h];
          a[t][r][h] = bf16_pair(byte_value<0>(quad, offset), byte_value<1>(quad, offset));
          a[t][r][2 + h] = bf16_pair(byte_value<2>(quad, offset), byte_value<3>(quad, offset));
        }
      }
    }
    STERNA_UNROLL for (int e = 0; e < kEights; ++e) {
      const int token = e * 8 + lane_ / 4, piece = step * 4 + lane_ % 4;
      const uint8_t* at = rows + token * By::kChunkBytes + By::placed(token, piece) * 16;
      const Words x = *reinterpret_cast<const Words*>(at);
      STERNA_UNROLL for (int r = 0; r < 2; ++r) {
        const uint32_t b[2] = {x.w[r * 2], x.w[r * 2 + 1]};
        STERNA_UNROLL for (int t = 0; t < kWarpTiles; ++t) gpu::multiply(sums_[t][e], a[t][r], b);
      }
    }
  }

  STERNA_GPU int64_t tile_of(int t) const {
    const int64_t tile = tile_ + warp_ * kWarpTiles + t;
    return tile < w_.tiles() ? tile : w_.tiles() - 1;
  }

  /// Takes up the zeros of the current group.
  STERNA_GPU void begin() {
    left_ = group_steps_;
    STERNA_UNROLL for (int t = 0; t < kWarpTiles; ++t) {
      STERNA_UNROLL for (int h = 0; h < 2; ++h) {
        zeros_[t][h] = tables_[t].zero(group_, lane_ / 4 + h * 8);
        if constexpr (F == CodeFormat::kDint)
          last_[t][h] = dint_last_bytes(zeros_[t][h]);
        zeros_[t][h] += gpu_extra_zero(F);
        if constexpr (!kBytes)
          offsets_[t][h] =
              kByteOffset + static_cast<float>(zeros_[t][h]) / static_cast<float>(gpu_unit_step(F));
      }
    }
  }

  STERNA_GPU void end_group() {
    if (group_ >= groups_)
      return;  // past the last input, where activations are zeros
    STERNA_UNROLL for (int e = 0; e < kEights; ++e) {
      STERNA_UNROLL for (int j = 0; j < 2; ++j) {
        const int64_t m = token_ + e * 8 + product_column(lane_, j);
        const int64_t token = m < x_.m ? m : x_.m - 1;
        STERNA_UNROLL for (int t = 0; t < kWarpTiles; ++t) {
          STERNA_UNROLL for (int h = 0; h < 2; ++h)
              add_scaled(token, t, h, sums_[t][e][h * 2 + j], totals_[t][e][h * 2 + j]);
        }
      }
    }
    if (++group_ < groups_)
      begin();
    else
      left_ = kChunkSteps + 1;
  }

  STERNA_GPU void add_scaled(int64_t token, int t, int h, typename By::Sum& sum, float& total) {
    const float scale = tables_[t].scale(group_, lane_ / 4 + h * 8);
    if constexpr (kBytes) {
      const int32_t whole =
          gpu_unit_step(F) * sum - zeros_[t][h] * x_.sums[token * groups_ + group_];
      const float both = rounded_product(scale, x_.scales[token]);
      total = rounded_sum(total, rounded_product(static_cast<float>(whole), both));
    } else {
      total += sum * (scale * static_cast<float>(gpu_unit_step(F)));
    }
    sum = 0;
  }

  STERNA_GPU void write(float* y) const {
    STERNA_UNROLL for (int t = 0; t < kWarpTiles; ++t) {
      STERNA_UNROLL for (int e = 0; e < kEights; ++e) {
        STERNA_UNROLL for (int i = 0; i < 4; ++i) {
          const int64_t tile = tile_ + warp_ * kWarpTiles + t;
          const int64_t n = tile * kPanelRows + product_row(lane_, i);
          const int64_t m = token_ + e * 8 + product_column(lane_, i);
          if (n < w_.n && m < x_.m)
            y[m * w_.n + n] = totals_[t][e][i];
        }
      }
    }
  }

  static constexpr bool kBytes = By::kChunkBytes == kChunkSteps * kStepInputs;

  const GpuMatrix& w_;
  const GemmRows& x_;
  Shared& shared_;
  int lane_;
  int warp_;
  int64_t tile_;
  int64_t token_;
  TileTables tables_[kWarpTiles];  ///< of this warp's tiles
  int64_t units_;
  int groups_;
  int group_steps_;
  int group_ = 0;  ///< the current one
  int left_ = 0;   ///< steps of it that are to come
  int zeros_[kWarpTiles][2] = {};
  uint32_t last_[kWarpTiles][2] = {};
  float offsets_[kWarpTiles][2] = {};
  typename By::Sum sums_[kWarpTiles][kEights][4] = {};
  float totals_[kWarpTiles][kEights][4] = {};
};

}  // namespace
}  // namespace sterna::kernels
