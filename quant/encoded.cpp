#include "quant/encoded.h"

#include <ATen/Parallel.h>

#include "kernels/dequantize.h"

namespace sterna::quant {
namespace {

/// Rows handed to a thread at once; values do not depend on it.
constexpr int64_t kRowsPerTask = 16;

void check(const Encoded& e) {
  TORCH_CHECK(e.codes.defined() && e.codes.dim() == 2 && e.codes.scalar_type() == at::kChar,
              "decode: expected codes int8 [N, K]");
  const int64_t n = e.codes.size(0);
  const int64_t k = e.codes.size(1);
  TORCH_CHECK(e.group > 0 && k % e.group == 0, "decode: group ", e.group, " does not divide K ", k);
  const int64_t groups = k / e.group;
  TORCH_CHECK(e.scales.numel() == 1 ||
                  (e.scales.dim() == 2 && e.scales.size(0) == n && e.scales.size(1) == groups),
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
  for (const Tensor& t : {e.codes, e.scales, e.zeros})
    TORCH_CHECK(!t.defined() || (t.is_contiguous() && t.is_cpu()),
                "decode: codes, scales and zeros must be contiguous and on the CPU");
}

kernels::FloatType float_type(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return kernels::FloatType::kFloat32;
    case at::kBFloat16:
      return kernels::FloatType::kBfloat16;
    case at::kHalf:
      return kernels::FloatType::kFloat16;
    default:
      TORCH_CHECK(false, "decode: expected fp32, bf16 or fp16, got ", dtype);
  }
}

void check_levels(const Encoded& e) {
  const Tensor& t = e.levels;
  TORCH_CHECK(t.defined() && (t.dim() == 1 || t.dim() == 2) && t.scalar_type() == at::kFloat &&
                  t.is_contiguous(),
              "decode: expected levels fp32 [L] or [R, L]");
  TORCH_CHECK((t.dim() == 2) == e.zeros.defined(),
              "decode: a choice of rows of levels needs rows, and rows a choice");
  TORCH_CHECK(!e.scales_below.defined() ||
                  (e.scales_below.sizes() == e.scales.sizes() && e.scales_below.is_contiguous()),
              "decode: scales below zero ",
              e.scales_below.sizes(),
              " differ from scales ",
              e.scales.sizes());
}

/// levels[code] * scale of the rows begin .. end.
template <class Value>
void decode_level_rows(const Encoded& e, int64_t begin, int64_t end, Value* out) {
  const int64_t k = e.codes.size(1);
  const int64_t per_row = k / e.group;
  const bool shared = e.scales.numel() == 1;
  const auto* codes = e.codes.const_data_ptr<int8_t>();
  const auto* scales = e.scales.const_data_ptr<float>();
  const auto* below = e.scales_below.defined() ? e.scales_below.const_data_ptr<float>() : scales;
  const auto* rows = e.zeros.defined() ? e.zeros.const_data_ptr<float>() : nullptr;
  const int64_t length = e.levels.size(-1);
  const auto* levels = e.levels.const_data_ptr<float>();
  for (int64_t run = begin * per_row; run < end * per_row; ++run) {
    const int64_t at = shared ? 0 : run;
    const auto* table = levels + (rows != nullptr ? static_cast<int64_t>(rows[at]) * length : 0);
    for (int64_t i = run * e.group; i < (run + 1) * e.group; ++i) {
      const float level = table[codes[i] - e.code_min];
      out[i] = static_cast<Value>(level * (level < 0 ? below[at] : scales[at]));
    }
  }
}

void decode_levels(const Encoded& e, Tensor& out) {
  check_levels(e);
  at::parallel_for(0, e.codes.size(0), kRowsPerTask, [&](int64_t begin, int64_t end) {
    switch (out.scalar_type()) {
      case at::kFloat:
        return decode_level_rows(e, begin, end, out.mutable_data_ptr<float>());
      case at::kBFloat16:
        return decode_level_rows(e, begin, end, out.mutable_data_ptr<at::BFloat16>());
      case at::kHalf:
        return decode_level_rows(e, begin, end, out.mutable_data_ptr<at::Half>());
      default:
        TORCH_CHECK(false, "decode: expected fp32, bf16 or fp16, got ", out.scalar_type());
    }
  });
}

void decode_affine(const Encoded& e, Tensor& out) {
  const bool shared = e.scales.numel() == 1;
  const int64_t k = e.codes.size(1);
  const kernels::DequantizeShape shape{e.codes.size(0), k, shared ? k : e.group, shared};
  const kernels::AffineCodes codes{e.codes.const_data_ptr<int8_t>(),
                                   e.scales.const_data_ptr<float>(),
                                   e.zeros.defined() ? e.zeros.const_data_ptr<float>() : nullptr,
                                   static_cast<float>(e.offset)};
  const kernels::FloatType type = float_type(out.scalar_type());
  void* values = out.mutable_data_ptr();
  at::parallel_for(0, shape.n, kRowsPerTask, [&](int64_t begin, int64_t end) {
    const kernels::Status status = kernels::dequantize(shape, codes, begin, end, type, values);
    TORCH_CHECK(status == kernels::Status::kOk, "decode: the kernel refused ", out.sizes());
  });
}

}  // namespace

void decode_into(const Encoded& encoded, Tensor& out) {
  check(encoded);
  TORCH_CHECK(out.is_cpu() && out.is_contiguous() && out.sizes() == encoded.codes.sizes(),
              "decode: expected a contiguous output ",
              encoded.codes.sizes(),
              " on the CPU, got ",
              out.sizes(),
              " on ",
              out.device());
  if (encoded.codes.numel() == 0)
    return;
  if (encoded.grid == Grid::kLevels)
    decode_levels(encoded, out);
  else
    decode_affine(encoded, out);
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
  // A table of its own for every group, which the layout sterna writes in fp32.
  if (encoded.levels.dim() == 2 && encoded.levels.size(0) == encoded.scales.numel())
    extra += static_cast<double>(encoded.levels.numel()) * 32;
  if (encoded.scales_below.defined())
    extra += static_cast<double>(encoded.scales_below.numel()) * scale_bits;
  // A zero point that is a code is stored like one.
  if (encoded.zeros.defined()) {
    const auto most = static_cast<double>(encoded.code_min + (int64_t{1} << encoded.bits) - 1);
    const bool codes = at::equal(encoded.zeros, encoded.zeros.round()) &&
                       (encoded.zeros <= most).all().item<bool>();
    extra += static_cast<double>(encoded.zeros.numel() * (codes ? encoded.bits : 32));
  }
  return static_cast<double>(encoded.bits) + extra / weights;
}

}  // namespace sterna::quant
