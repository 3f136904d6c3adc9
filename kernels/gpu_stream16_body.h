// The product of a few tokens' bf16 activations with packed weights on a GPU, added up in fp32: a
// block reads the codes of 16 outputs once. Included behind gpu_device.h, or what stands in for it.
#pragma once

#include "kernels/cpu.h"
#include "kernels/gpu_layout.h"

namespace sterna::kernels {
namespace {

/// bf16 activations.
struct BrainRows {
  const Bf16* rows = nullptr;  ///< [M, K]
  int64_t m = 0;
};

/// F is the matrix's format; kTable's codes lie as kFourBit's and are looked up in w.levels.
template <CodeFormat F, int kTokens>
class StreamA16 {
  static constexpr bool kTable = F == CodeFormat::kTable;
  static constexpr CodeFormat kCodes = kTable ? CodeFormat::kFourBit : F;
  static constexpr int kSteps = UnitOf<F>::kSteps;
  static constexpr int kWarps = 8;

 public:
  static constexpr int kThreads = kWarps * 32;
  struct Shared {
    float levels[16];
    float sums[kWarps][kTokens][kPanelRows];
  };

  STERNA_GPU StreamA16(const GpuMatrix& w, const BrainRows& x, Shared& shared)
      : w_(w),
        x_(x),
        shared_(shared),
        lane_(gpu::thread() % 32),
        warp_(gpu::thread() / 32),
        tile_(gpu::block_x()),
        tables_(w, tile_),
        codes_(w.data + tile_ * units_of<kCodes>(w.k) * kUnitBytes + lane_ * 16),
        token_(static_cast<int64_t>(gpu::block_y()) * kTokens),
        groups_(static_cast<int>(w.groups())),
        group_steps_((static_cast<int>(w.group) + kStepInputs - 1) / kStepInputs) {}

  STERNA_GPU void run(float* y) {
    if constexpr (kTable) {
      // One by one: an index that is not known would cost a copy of w in each thread.
      STERNA_UNROLL for (int i = 0; i < 16; ++i) {
        if (gpu::thread() == i)
          shared_.levels[i] = w_.levels[i];
      }
      gpu::sync();
    }
    const int units = static_cast<int>(units_of<kCodes>(w_.k));
    for (int unit = warp_; unit < units; unit += kWarps)
      add_unit<0>(unit, gpu::load_once(codes_ + static_cast<int64_t>(unit) * kUnitBytes));
    end_group();
    gather();
    gpu::sync();
    write(y);
  }

 private:
  template <int S>
  STERNA_GPU void add_unit(int unit, const Words& raw) {
    if constexpr (S < kSteps) {
      const int step = unit * kSteps + S;
      seek(step);
      uint32_t quads[2][2];
      decode_step<kCodes, S, false>(raw, last_, quads);
      float weights[2][8];
      STERNA_UNROLL for (int h = 0; h < 2; ++h) {
        STERNA_UNROLL for (int r = 0; r < 2; ++r) {
          weights[h][r * 4] = value<0>(quads[h][r], h);
          weights[h][r * 4 + 1] = value<1>(quads[h][r], h);
          weights[h][r * 4 + 2] = value<2>(quads[h][r], h);
          weights[h][r * 4 + 3] = value<3>(quads[h][r], h);
        }
      }
      add_step(step * kStepInputs + lane_ % 4 * 8, weights);
      add_unit<S + 1>(unit, raw);
    }
  }

  template <int I>
  STERNA_GPU float value(uint32_t quad, int h) const {
    if constexpr (kTable)
      return shared_.levels[quad >> 8 * I & 15u];
    else
      return byte_value<I>(quad, offsets_[h]);
  }

  STERNA_GPU void add_step(int64_t input, const float (&weights)[2][8]) {
    STERNA_UNROLL for (int t = 0; t < kTokens; ++t) {
      float x[8] = {};
      activations(t, input, x);
      STERNA_UNROLL for (int i = 0; i < 8; ++i) {
        sums_[0][t] += weights[0][i] * x[i];
        sums_[1][t] += weights[1][i] * x[i];
      }
    }
  }

  STERNA_GPU void activations(int t, int64_t input, float (&to)[8]) const {
    if (token_ + t >= x_.m)
      return;
    const Bf16* from = x_.rows + (token_ + t) * w_.k + input;
    if (w_.k % 8 == 0 && input < w_.k) {
      const Words eight = *reinterpret_cast<const Words*>(from);
      STERNA_UNROLL for (int i = 0; i < 4; ++i) {
        to[2 * i] = float_of_bits(eight.w[i] << 16);
        to[2 * i + 1] = float_of_bits(eight.w[i] & 0xffff0000u);
      }
      return;
    }
    STERNA_UNROLL for (int i = 0; i < 8; ++i) {
      if (input + i < w_.k)
        to[i] = float_of_bits(static_cast<uint32_t>(from[i].bits) << 16);
    }
  }

  /// Makes the group of `step` the current one.
  STERNA_GPU void seek(int step) {
    const int group = step / group_steps_;
    if (group == group_ || group >= groups_)
      return;
    end_group();
    group_ = group;
    STERNA_UNROLL for (int h = 0; h < 2; ++h) {
      const int row = lane_ / 4 + h * 8;
      const int zero = tables_.zero(group, row);
      scales_[h] = tables_.scale(group, row) * static_cast<float>(gpu_unit_step(F));
      last_[h] = dint_last_bytes(zero);
      offsets_[h] = kByteOffset + static_cast<float>(zero + gpu_extra_zero(F)) /
                                      static_cast<float>(gpu_unit_step(F));
    }
  }

  STERNA_GPU void end_group() {
    STERNA_UNROLL for (int h = 0; h < 2; ++h) {
      STERNA_UNROLL for (int t = 0; t < kTokens; ++t) {
        totals_[h][t] += sums_[h][t] * scales_[h];
        sums_[h][t] = 0;
      }
    }
  }

  /// This warp's sums to shared memory.
  STERNA_GPU void gather() {
    STERNA_UNROLL for (int h = 0; h < 2; ++h) {
      STERNA_UNROLL for (int t = 0; t < kTokens; ++t) {
        float sum = totals_[h][t];
        sum += gpu::of_lane(sum, 1);
        sum += gpu::of_lane(sum, 2);
        if (lane_ % 4 == 0)
          shared_.sums[warp_][t][lane_ / 4 + h * 8] = sum;
      }
    }
  }

  STERNA_GPU void write(float* y) const {
    const int output = gpu::thread() % kPanelRows, t = gpu::thread() / kPanelRows;
    const int64_t n = tile_ * kPanelRows + output;
    if (t >= kTokens || token_ + t >= x_.m || n >= w_.n)
      return;
    float sum = 0;
    for (int warp = 0; warp < kWarps; ++warp)
      sum += shared_.sums[warp][t][output];
    y[(token_ + t) * w_.n + n] = sum;
  }

  const GpuMatrix& w_;
  const BrainRows& x_;
  Shared& shared_;
  int lane_;
  int warp_;
  int64_t tile_;
  TileTables tables_;
  const uint8_t* codes_;
  int64_t token_;
  int groups_;
  int group_steps_;
  int group_ = -1;  ///< the current one
  float scales_[2] = {};
  float offsets_[2] = {};
  uint32_t last_[2] = {};
  float sums_[2][kTokens] = {};
  float totals_[2][kTokens] = {};
};

}  // namespace
}  // namespace sterna::kernels
