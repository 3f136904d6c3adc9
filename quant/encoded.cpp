#include "quant/encoded.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

namespace sterna::quant {
namespace {

/// Rows handed to a thread at once; values do not depend on it.
constexpr int64_t kRowsPerTask = 16;

struct Layout {
  int64_t n, k, group;
  int64_t scale_row, scale_group;  ///< strides into scales and zeros; 0 where one serves all
};

Layout layout(const Encoded& e) {
  TORCH_CHECK(e.codes.defined() && e.codes.dim() == 2 && e.codes.scalar_type() == at::kChar,
              "decode: expected codes int8 [N, K]");
  const int64_t n = e.codes.size(0), k = e.codes.size(1);
  TORCH_CHECK(e.group > 0 || k == 0, "decode: group must be set, got ", e.group);
  TORCH_CHECK(k == 0 || k % e.group == 0, "decode: group ", e.group, " does not divide K ", k);
  const bool one = e.scales.numel() == 1;
  const int64_t groups = k == 0 ? 0 : k / e.group;
  TORCH_CHECK(one || (e.scales.dim() == 2 && e.scales.size(0) == n && e.scales.size(1) == groups),
              "decode: expected scales [",
              n,
              ", ",
              groups,
              "] or [1, 1], got ",
              e.scales.sizes());
  TORCH_CHECK(!e.zeros.defined() || e.zeros.sizes() == e.scales.sizes(),
              "decode: zeros ",
              e.zeros.sizes(),
              " differ from scales ",
              e.scales.sizes());
  return {n, k, e.group, one ? 0 : groups, one ? 0 : 1};
}

template <class T>
void decode_rows(const Encoded& e, const Layout& l, T* out, int64_t begin, int64_t end) {
  const int8_t* codes = e.codes.const_data_ptr<int8_t>();
  const float* scales = e.scales.const_data_ptr<float>();
  const float* zeros = e.zeros.defined() ? e.zeros.const_data_ptr<float>() : nullptr;
  const float* levels = e.grid == Grid::kLevels ? e.levels.const_data_ptr<float>() : nullptr;
  const auto offset = static_cast<float>(e.offset);
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t at = 0; at < l.k; at += l.group) {
      const int64_t where = row * l.scale_row + at / l.group * l.scale_group;
      const float scale = scales[where];
      const float zero = zeros != nullptr ? zeros[where] : offset;
      const int8_t* q = codes + row * l.k + at;
      T* y = out + row * l.k + at;
      if (levels == nullptr) {
        for (int64_t i = 0; i < l.group; ++i)
          y[i] = static_cast<T>((static_cast<float>(q[i]) - zero) * scale);
      } else {
        for (int64_t i = 0; i < l.group; ++i)
          y[i] = static_cast<T>(levels[q[i] - e.code_min] * scale);
      }
    }
  }
}

}  // namespace

void decode_into(const Encoded& encoded, Tensor& out) {
  const Layout l = layout(encoded);
  TORCH_CHECK(encoded.codes.is_cpu() && out.is_cpu(),
              "decode: tensors must be on the CPU, got ",
              encoded.codes.device(),
              " and ",
              out.device());
  TORCH_CHECK(out.is_contiguous() && out.sizes() == encoded.codes.sizes(),
              "decode: expected a contiguous output ",
              encoded.codes.sizes(),
              ", got ",
              out.sizes());
  TORCH_CHECK(encoded.codes.is_contiguous() && encoded.scales.is_contiguous() &&
                  (!encoded.zeros.defined() || encoded.zeros.is_contiguous()),
              "decode: codes, scales and zeros must be contiguous");
  if (encoded.codes.numel() == 0)
    return;
  AT_DISPATCH_FLOATING_TYPES_AND2(
      at::kBFloat16, at::kHalf, out.scalar_type(), "sterna::quant::decode", [&] {
        scalar_t* y = out.mutable_data_ptr<scalar_t>();
        at::parallel_for(0, l.n, kRowsPerTask, [&](int64_t begin, int64_t end) {
          decode_rows<scalar_t>(encoded, l, y, begin, end);
        });
      });
}

Tensor decode(const Encoded& encoded, at::ScalarType dtype) {
  Tensor out = at::empty(encoded.codes.sizes(), encoded.codes.options().dtype(dtype));
  decode_into(encoded, out);
  return out;
}

double bits_per_weight(const Encoded& encoded) {
  const auto weights = static_cast<double>(encoded.codes.numel());
  if (weights == 0)
    return static_cast<double>(encoded.bits);
  const auto scale_bits = 8.0 * static_cast<double>(c10::elementSize(encoded.scale_dtype));
  double extra = static_cast<double>(encoded.scales.numel()) * scale_bits;
  // An integer zero point is stored like a code.
  if (encoded.zeros.defined())
    extra += static_cast<double>(encoded.zeros.numel() * encoded.bits);
  if (encoded.levels.defined())
    extra += static_cast<double>(encoded.levels.numel()) * scale_bits;
  return static_cast<double>(encoded.bits) + extra / weights;
}

}  // namespace sterna::quant
