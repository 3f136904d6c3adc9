// The definitions of the packed products: one code at a time.
#include <vector>

#include "kernels/matmul.h"
#include "kernels/matmul_check.h"
#include "kernels/packed_code.h"

namespace sterna::kernels {
namespace {

int32_t whole_sum(const PackedMatrix& w, int64_t n, int64_t g, const int8_t* x) {
  const uint8_t* group = group_at(w, n, g);
  const int64_t row = n % kPanelRows;
  const int zero = stored_zero(w, group, row);
  int32_t sum = 0;
  for (int64_t i = 0; i < w.group; ++i)
    sum += whole_value(w.format, stored_code(w, group, row, i), zero) * x[i];
  return sum;
}

}  // namespace

Status matmul_a8_reference(const PackedMatrix& w,
                           const QuantizedRows& x,
                           const OutputRange& range,
                           float* y) {
  if (const Status status = check_a8(w, x, range); status != Status::kOk)
    return status;
  for (int64_t m = 0; m < x.m; ++m) {
    for (int64_t n = range.begin; n < range.end; ++n) {
      float sum = 0;
      for (int64_t g = 0; g < w.groups(); ++g) {
        for (int64_t row = m * x.planes; row < (m + 1) * x.planes; ++row) {
          const int8_t* codes = x.codes + row * activation_stride(x.k) + g * w.group;
          const float scale = stored_scale(w, group_at(w, n, g), n % kPanelRows) * x.scales[row];
          sum += static_cast<float>(whole_sum(w, n, g, codes)) * scale;
        }
      }
      y[m * w.n + n] = sum;
    }
  }
  return Status::kOk;
}

Status matmul_a16_reference(
    const PackedMatrix& w, int64_t m, const float* x, const OutputRange& range, float* y) {
  if (const Status status = check_range(w, m, range); status != Status::kOk)
    return status;
  for (int64_t n = range.begin; n < range.end; ++n) {
    std::vector<float> row(static_cast<size_t>(w.k));
    decode_row(w, n, row.data());
    for (int64_t t = 0; t < m; ++t) {
      double sum = 0;
      for (int64_t i = 0; i < w.k; ++i)
        sum += double{row[static_cast<size_t>(i)]} * double{x[t * w.k + i]};
      y[t * w.n + n] = static_cast<float>(sum);
    }
  }
  return Status::kOk;
}

}  // namespace sterna::kernels
