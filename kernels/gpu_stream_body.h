// The product of up to 16 tokens' bytes with packed weights on a GPU: a block reads the codes of 16
// outputs once, its warps taking runs of units in turn. Up to four tokens multiply by dp4a, more on
// tensor cores. Included behind gpu_device.h, or what stands in for it.
#pragma once

#include "kernels/gpu_layout.h"
#include "kernels/quantize_rows.h"

namespace sterna::kernels {
namespace {

constexpr int kMostDotTokens = 4;
constexpr int kStreamWarps = 8;

/// A lane's sums of one group, by dp4a: of outputs lane / 4 and lane / 4 + 8.
template <CodeFormat F, int kTokens, bool kTensor = (kTokens > kMostDotTokens)>
struct LaneSums {
  static constexpr bool kInPlace = true;
  static constexpr int kPlaces = F == CodeFormat::kTwoBit ? 4 : F == CodeFormat::kFourBit ? 2 : 1;
  int32_t sums[2][kTokens][kPlaces] = {};

  template <int S, class Activations>
  STERNA_GPU void add(const uint32_t (&quads)[2][2], const Activations& x) {
    STERNA_UNROLL for (int t = 0; t < kTokens; ++t) {
      const Pair eight = x(t);
      STERNA_UNROLL for (int h = 0; h < 2; ++h) {
        STERNA_UNROLL for (int r = 0; r < 2; ++r) {
          int32_t& sum = sums[h][t][kPlaces == 1 ? 0 : place_of<F>(S, r) / UnitOf<F>::kBits];
          sum = dot4(quads[h][r], r == 0 ? eight.a : eight.b, sum);
        }
      }
    }
  }

  /// Adds the sums of four lanes to to[token][output].
  STERNA_GPU void flush(int lane, int32_t (*to)[kPanelRows]) {
    STERNA_UNROLL for (int h = 0; h < 2; ++h) {
      STERNA_UNROLL for (int t = 0; t < kTokens; ++t) {
        int32_t sum = 0;
        STERNA_UNROLL for (int p = 0; p < kPlaces; ++p) {
          sum += sums[h][t][p] >> p * UnitOf<F>::kBits;
          sums[h][t][p] = 0;
        }
        sum += gpu::of_lane(sum, 1);
        sum += gpu::of_lane(sum, 2);
        if (lane % 4 == t % 4)
          gpu::add_to(&to[t][lane / 4 + h * 8], sum);
      }
    }
  }

  static STERNA_GPU int token_of(int, int t) { return t; }
};

/// The same on tensor cores.
template <CodeFormat F, int kTokens>
struct LaneSums<F, kTokens, true> {
  static constexpr bool kInPlace = false;
  int32_t sums[kTokens / 8][4] = {};

  template <int S, class Activations>
  STERNA_GPU void add(const uint32_t (&quads)[2][2], const Activations& x) {
    const uint32_t a[4] = {quads[0][0], quads[1][0], quads[0][1], quads[1][1]};
    STERNA_UNROLL for (int t = 0; t < kTokens / 8; ++t) {
      const Pair eight = x(t);
      const uint32_t b[2] = {eight.a, eight.b};
      gpu::multiply(sums[t], a, b);
    }
  }

  STERNA_GPU void flush(int lane, int32_t (*to)[kPanelRows]) {
    STERNA_UNROLL for (int t = 0; t < kTokens / 8; ++t) {
      STERNA_UNROLL for (int i = 0; i < 4; ++i) {
        gpu::add_to(&to[t * 8 + product_column(lane, i)][product_row(lane, i)], sums[t][i]);
        sums[t][i] = 0;
      }
    }
  }

  static STERNA_GPU int token_of(int lane, int t) { return t * 8 + lane / 4; }
};

/// Groups are added up by many warps as integers, whose order does not matter, and scaled by one
/// thread an output, in order: the bits of matmul_a8_reference.
template <CodeFormat F, int kTokens>
class StreamA8 {
  static constexpr int kRun = kTokens == 1 ? 4 : 2;  ///< units that a lane has under way
  static constexpr int kPassGroups = kTokens > kMostDotTokens ? 32 : 64;
  static constexpr int kSteps = UnitOf<F>::kSteps;
  using Sums = LaneSums<F, kTokens>;

 public:
  static constexpr int kThreads = kStreamWarps * 32;
  struct Shared {
    int32_t sums[kPassGroups][kTokens][kPanelRows];
  };

  STERNA_GPU StreamA8(const GpuMatrix& w, const QuantizedRows& x, Shared& shared)
      : w_(w),
        x_(x),
        shared_(shared),
        lane_(gpu::thread() % 32),
        tile_(gpu::block_x()),
        tables_(w, tile_),
        codes_(w.data + tile_ * units_of<F>(w.k) * kUnitBytes + lane_ * 16),
        token_(static_cast<int64_t>(gpu::block_y()) * kTokens),
        groups_(static_cast<int>(w.groups())),
        group_steps_((static_cast<int>(w.group) + kStepInputs - 1) / kStepInputs) {}

  STERNA_GPU void run(float* y) {
    const int output = gpu::thread() % kPanelRows, token = gpu::thread() / kPanelRows;
    float sum = 0;
    for (first_ = 0; first_ < groups_; first_ += kPassGroups) {
      const int last = first_ + kPassGroups < groups_ ? first_ + kPassGroups : groups_;
      clear();
      gpu::sync();
      add_up(last);
      gpu::sync();
      if (token < kTokens && token_ + token < x_.m)
        sum = scaled(sum, last, output, token);
      gpu::sync();
    }
    const int64_t n = tile_ * kPanelRows + output;
    if (token < kTokens && token_ + token < x_.m && n < w_.n)
      y[(token_ + token) * w_.n + n] = sum;
  }

 private:
  STERNA_GPU void clear() {
    int32_t* all = &shared_.sums[0][0][0];
    for (int i = gpu::thread(); i < kPassGroups * kTokens * kPanelRows; i += kThreads)
      all[i] = 0;
  }

  /// Groups first_ .. last: a pass begins at a unit, as its groups are 64 (32) of 32 inputs or
  /// more.
  STERNA_GPU void add_up(int last) {
    const int begin = first_ * group_steps_ / kSteps;
    const int end = (last * group_steps_ + kSteps - 1) / kSteps;
    Sums sums;
    group_ = -1;
    for (int unit = begin + gpu::thread() / 32 * kRun; unit < end; unit += kStreamWarps * kRun) {
      Words raw[kRun];
      STERNA_UNROLL for (int i = 0; i < kRun; ++i) {
        if (unit + i < end)
          raw[i] = gpu::load_once(codes_ + static_cast<int64_t>(unit + i) * kUnitBytes);
      }
      seek(unit * kSteps, sums);
      STERNA_UNROLL for (int i = 0; i < kRun; ++i) {
        if (unit + i < end)
          add_unit<0>(unit + i, raw[i], sums);
      }
    }
    if (group_ >= 0)
      flush(sums);
  }

  /// Makes the group of `step` the current one.
  STERNA_GPU void seek(int step, Sums& sums) {
    const int group = step / group_steps_;
    left_ = (group + 1) * group_steps_ - step;
    if (group == group_)
      return;
    if (group_ >= 0)
      flush(sums);
    begin(group);
  }

  STERNA_GPU void next_group(Sums& sums) {
    left_ = group_steps_;
    if (group_ + 1 >= groups_)
      return;  // past the last input, where activations are zeros
    flush(sums);
    begin(group_ + 1);
  }

  STERNA_GPU void begin(int group) {
    group_ = group;
    if constexpr (F == CodeFormat::kDint) {
      STERNA_UNROLL for (int h = 0; h < 2; ++h) last_[h] =
          dint_last_bytes(tables_.zero(group, lane_ / 4 + h * 8));
    }
  }

  STERNA_GPU void flush(Sums& sums) { sums.flush(lane_, shared_.sums[group_ - first_]); }

  template <int S>
  STERNA_GPU void add_unit(int unit, const Words& raw, Sums& sums) {
    if constexpr (S < kSteps) {
      const int step = unit * kSteps + S;
      if (left_ == 0)
        next_group(sums);
      --left_;
      uint32_t quads[2][2];
      decode_step<F, S, Sums::kInPlace>(raw, last_, quads);
      const int input = step * kStepInputs;
      sums.template add<S>(quads, [&](int t) { return activations(t, input); });
      add_unit<S + 1>(unit, raw, sums);
    }
  }

  /// This lane's eight of a step's; zeros past the last input or token.
  STERNA_GPU Pair activations(int t, int input) const {
    const int64_t token = token_ + Sums::token_of(lane_, t);
    if (token >= x_.m || input >= x_.k)
      return {};
    const int8_t* row = x_.codes + token * activation_bytes(x_.k);
    return *reinterpret_cast<const Pair*>(row + input + lane_ % 4 * 8);
  }

  STERNA_GPU float scaled(float sum, int last, int output, int token) const {
    const float x_scale = x_.scales[token_ + token];
    const int32_t* x_sums = x_.sums + (token_ + token) * groups_;
    for (int g = first_; g < last; ++g) {
      const int zero = tables_.zero(g, output) + gpu_extra_zero(F);
      const int32_t whole =
          gpu_unit_step(F) * shared_.sums[g - first_][token][output] - zero * x_sums[g];
      const float scale = rounded_product(tables_.scale(g, output), x_scale);
      sum = rounded_sum(sum, rounded_product(static_cast<float>(whole), scale));
    }
    return sum;
  }

  const GpuMatrix& w_;
  const QuantizedRows& x_;
  Shared& shared_;
  int lane_;
  int64_t tile_;
  TileTables tables_;
  const uint8_t* codes_;
  int64_t token_;
  int groups_;
  int group_steps_;
  int first_ = 0;   ///< group of the pass
  int group_ = -1;  ///< the current one
  int left_ = 0;    ///< steps of it that are to come
  uint32_t last_[2] = {};
};

}  // namespace
}  // namespace sterna::kernels
