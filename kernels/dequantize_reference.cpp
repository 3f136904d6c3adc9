// The definition of dequantize: one element at a time, every rounding written out in integers.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/dequantize.h"

namespace sterna::kernels {
namespace {

/// `value` rounded to `digits` significant bits, ties to even, steps no finer than 2^least.
double rounded(double value, int digits, int least) {
  if (value == 0.0 || !std::isfinite(value))
    return value;
  const int step = std::max(std::ilogb(value) - digits + 1, least);
  return std::ldexp(std::nearbyint(std::ldexp(value, -step)), step);
}

uint32_t sign_of(float value) {
  return std::signbit(value) ? 0x8000u : 0u;
}

uint16_t to_bfloat16(float value) {
  if (std::isnan(value))
    return 0x7fc0;
  const auto near = static_cast<float>(rounded(value, 8, -133));
  uint32_t bits = 0;
  std::memcpy(&bits, &near, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

uint16_t to_float16(float value) {
  if (std::isnan(value))
    return static_cast<uint16_t>(sign_of(value) | 0x7e00u);
  const double near = std::fabs(rounded(value, 11, -24));
  if (near >= 65536.0)
    return static_cast<uint16_t>(sign_of(value) | 0x7c00u);
  if (near < 0x1p-14)
    return static_cast<uint16_t>(sign_of(value) | static_cast<uint32_t>(std::ldexp(near, 24)));
  const int exponent = std::ilogb(near);
  const auto mantissa = static_cast<uint32_t>(std::ldexp(near, 10 - exponent)) - 1024u;
  return static_cast<uint16_t>(sign_of(value) | static_cast<uint32_t>(exponent + 15) << 10 |
                               mantissa);
}

void store(float value, FloatType type, void* out, int64_t at) {
  if (type == FloatType::kFloat32)
    static_cast<float*>(out)[at] = value;
  else
    static_cast<uint16_t*>(out)[at] =
        type == FloatType::kBfloat16 ? to_bfloat16(value) : to_float16(value);
}

}  // namespace

Status dequantize_reference(const DequantizeShape& shape,
                            const AffineCodes& in,
                            int64_t row_begin,
                            int64_t row_end,
                            FloatType type,
                            void* out) {
  if (!valid(shape) || row_begin < 0 || row_end < row_begin || shape.n < row_end)
    return Status::kInvalidShape;
  const int64_t groups = shape.k / shape.group;
  for (int64_t n = row_begin; n < row_end; ++n) {
    for (int64_t k = 0; k < shape.k; ++k) {
      const int64_t scale = (shape.shared_scales ? 0 : n * groups) + k / shape.group;
      const float zero = in.zeros != nullptr ? in.zeros[scale] : in.offset;
      const float centred = static_cast<float>(in.codes[n * shape.k + k]) - zero;
      store(centred * in.scales[scale], type, out, n * shape.k + k);
    }
  }
  return Status::kOk;
}

}  // namespace sterna::kernels
