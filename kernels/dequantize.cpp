// Values of affine codes on the CPU.
//   value = (float(code) - zero) * scale
#include "kernels/dequantize.h"

#include <bit>

#include "kernels/half.h"

namespace sterna::kernels {
namespace {

struct Float32 {
  using Stored = float;
  static void round(float value, float& to) { to = value; }
};

struct Bfloat16 {
  using Stored = uint16_t;
  static void round(float value, uint16_t& to) {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    // Half of the last kept bit, less one where that bit is even: ties go to even.
    const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
    to = static_cast<uint16_t>(nan ? 0x7fc0u : rounded);
  }
};

struct Float16 {
  using Stored = Half;
  static void round(float value, Half& to) { to = static_cast<Half>(value); }
};

template <class Type>
void rows(const DequantizeShape& shape,
          const AffineCodes& in,
          int64_t row_begin,
          int64_t row_end,
          void* out) {
  const int64_t groups = shape.k / shape.group;
  for (int64_t n = row_begin; n < row_end; ++n) {
    const int64_t first = shape.shared_scales ? 0 : n * groups;
    for (int64_t g = 0; g < groups; ++g) {
      const float scale = in.scales[first + g];
      const float zero = in.zeros != nullptr ? in.zeros[first + g] : in.offset;
      const int64_t at = n * shape.k + g * shape.group;
      const int8_t* __restrict codes = in.codes + at;
      auto* __restrict to = static_cast<typename Type::Stored*>(out) + at;
      for (int64_t i = 0; i < shape.group; ++i) {
        Type::round((static_cast<float>(codes[i]) - zero) * scale, to[i]);
      }
    }
  }
}

bool inside(const DequantizeShape& shape, int64_t row_begin, int64_t row_end) {
  return valid(shape) && 0 <= row_begin && row_begin <= row_end && row_end <= shape.n;
}

}  // namespace

Status dequantize(const DequantizeShape& shape,
                  const AffineCodes& in,
                  int64_t row_begin,
                  int64_t row_end,
                  FloatType type,
                  void* out) {
  if (!inside(shape, row_begin, row_end))
    return Status::kInvalidShape;
  switch (type) {
    case FloatType::kFloat32:
      rows<Float32>(shape, in, row_begin, row_end, out);
      break;
    case FloatType::kBfloat16:
      rows<Bfloat16>(shape, in, row_begin, row_end, out);
      break;
    case FloatType::kFloat16:
      rows<Float16>(shape, in, row_begin, row_end, out);
      break;
  }
  return Status::kOk;
}

}  // namespace sterna::kernels
