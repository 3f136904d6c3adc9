// quantize_rows on a GPU, a block a row: the operations of quantize_rows.cpp, one by one. Included
// behind gpu_device.h, or what stands in for it.
#pragma once

#include "kernels/gpu_layout.h"
#include "kernels/quantize_rows.h"

namespace sterna::kernels {
namespace {

STERNA_GPU float widened(float x) {
  return x;
}
STERNA_GPU float widened(Bf16 x) {
  return float_of_bits(static_cast<uint32_t>(x.bits) << 16);
}

/// @tparam X  float or Bf16
template <class X>
class QuantizeRow {
  static constexpr int kWarps = 4;

 public:
  static constexpr int kThreads = kWarps * 32;
  struct Shared {
    float reach[kWarps];
    int32_t broken;
  };

  STERNA_GPU QuantizeRow(const QuantizedRows& rows, const X* x, Shared& shared)
      : rows_(rows), m_(gpu::block_x()), x_(x + m_ * rows.k), shared_(shared) {}

  STERNA_GPU void run(const RowRule& rule, const QuantizedBuffers& out) {
    const int64_t groups = rows_.k / rows_.group;
    int32_t* sums = out.sums + m_ * groups;
    if (gpu::thread() == 0)
      shared_.broken = 0;
    for (int64_t g = gpu::thread(); g < groups; g += kThreads)
      sums[g] = 0;
    const float reach = reach_of_row();  // behind whose barrier the sums are zeros for all
    const float clipped = rule.clip < reach ? rule.clip : reach;
    const float most = clipped < kLeastReach ? kLeastReach : clipped;
    write_codes(gpu::quotient(rule.top, most), rule.top, out.codes, sums);
    gpu::sync();
    if (gpu::thread() == 0) {
      const float step = gpu::quotient(most, rule.top);
      const bool whole = shared_.broken == 0 && step - step == 0;
      out.scales[m_] = whole ? step : float_of_bits(0x7fc00000u);
    }
  }

 private:
  static constexpr float kLeastReach = 1e-5f;

  STERNA_GPU float reach_of_row() {
    float most = 0;
    for (int64_t i = gpu::thread(); i < rows_.k; i += kThreads) {
      const float v = widened(x_[i]), size = v < 0 ? -v : v;
      most = size > most ? size : most;
    }
    STERNA_UNROLL for (int mask = 16; mask > 0; mask /= 2) {
      const float other = gpu::of_lane(most, mask);
      most = other > most ? other : most;
    }
    if (gpu::thread() % 32 == 0)
      shared_.reach[gpu::thread() / 32] = most;
    gpu::sync();
    for (int warp = 0; warp < kWarps; ++warp)
      most = shared_.reach[warp] > most ? shared_.reach[warp] : most;
    return most;
  }

  /// Runs of four inputs a thread; sums are integers, so that their order does not matter.
  STERNA_GPU void write_codes(float inverse, float top, int8_t* codes, int32_t* sums) {
    const int64_t stride = activation_bytes(rows_.k);
    bool broken = false;
    const int width = static_cast<int>(rows_.group);
    int group = -1;
    int32_t sum = 0;
    for (int64_t i = gpu::thread() * 4; i < stride; i += kThreads * 4) {
      STERNA_UNROLL for (int64_t j = i; j < i + 4; ++j) {
        int code = 0;
        if (j < rows_.k) {
          const float v = rounded_product(widened(x_[j]), inverse);
          broken = broken || v != v;
          code = code_of(v, top);
          if (static_cast<int>(j) / width != group) {
            if (group >= 0)
              gpu::add_to(sums + group, sum);
            group = static_cast<int>(j) / width;
            sum = 0;
          }
          sum += code;
        }
        codes[m_ * stride + j] = static_cast<int8_t>(code);
      }
    }
    if (group >= 0)
      gpu::add_to(sums + group, sum);
    if (broken)
      gpu::add_to(&shared_.broken, 1);
  }

  static STERNA_GPU int code_of(float v, float top) {
    const float above = v < -top ? -top : v;
    return v != v ? 0 : gpu::nearest(above > top ? top : above);
  }

  const QuantizedRows& rows_;
  int64_t m_;
  const X* x_;
  Shared& shared_;
};

}  // namespace
}  // namespace sterna::kernels
