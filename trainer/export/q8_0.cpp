// Finds the Q8_0 blocks that a matrix was de-quantised from. A block's largest weight is d * q with
// a half-precision d and |q| <= 127 (127 where the usual quantizer wrote it), so d is among
// half(amax / q); the first d that gives back all 32 values bit for bit is taken.
#include <bit>
#include <cmath>
#include <cstring>

#include "kernels/half.h"
#include "trainer/export/tensors.h"

namespace sterna::exporter {

namespace {

constexpr int64_t kBlock = 32;
constexpr int64_t kBytes = 34;

bool try_scale(const float* values, float d, int8_t* codes) {
  for (int64_t i = 0; i < kBlock; ++i) {
    const float q = d == 0 ? 0 : std::nearbyint(values[i] / d);
    if (!(std::abs(q) <= 127) ||
        std::bit_cast<uint32_t>(q * d + 0.0F) != std::bit_cast<uint32_t>(values[i]))
      return false;
    codes[i] = static_cast<int8_t>(q);
  }
  return true;
}

bool encode_block(const float* values, uint8_t* out) {
  float amax = 0;
  for (int64_t i = 0; i < kBlock; ++i)
    amax = std::max(amax, std::abs(values[i]));
  if (!std::isfinite(amax))
    return false;
  auto* codes = reinterpret_cast<int8_t*>(out + 2);
  for (int q = 127; q >= 1; --q) {
    const auto half = static_cast<kernels::Half>(amax / static_cast<float>(q));
    if (!try_scale(values, static_cast<float>(half), codes))
      continue;
    std::memcpy(out, &half, sizeof(half));
    return true;
  }
  return false;
}

}  // namespace

std::optional<at::Tensor> exact_q8_0(const at::Tensor& w) {
  if (w.dim() != 2 || w.size(1) == 0 || w.size(1) % kBlock != 0 || w.scalar_type() != at::kFloat)
    return std::nullopt;
  const at::Tensor values = w.contiguous();
  const auto* from = values.const_data_ptr<float>();
  at::Tensor blocks = at::empty({w.size(0), w.size(1) / kBlock * kBytes}, at::kByte);
  auto* to = blocks.mutable_data_ptr<uint8_t>();
  for (int64_t block = 0; block < w.numel() / kBlock; ++block) {
    if (!encode_block(from + block * kBlock, to + block * kBytes))
      return std::nullopt;
  }
  return blocks;
}

}  // namespace sterna::exporter
