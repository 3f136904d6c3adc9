#include "kernels/matmul.h"

#include <algorithm>
#include <vector>

#include "kernels/matmul_check.h"
#include "kernels/matmul_variants.h"

namespace sterna::kernels {
namespace {

bool nothing(int64_t m, const OutputRange& range) {
  return m == 0 || range.begin == range.end;
}

/// By 32 tokens, each of which is three rows of integers.
void split_product(const PackedMatrix& w,
                   int64_t m,
                   const float* x,
                   const OutputRange& range,
                   float* y,
                   CpuLevel level) {
  constexpr int64_t kTokens = 32, kPlanes = 3;
  const int64_t rows = kPlanes * std::min(m, kTokens);
  std::vector<int8_t> codes(static_cast<size_t>(rows * activation_stride(w.k)));
  std::vector<float> scales(static_cast<size_t>(rows));
  std::vector<int32_t> sums(static_cast<size_t>(rows * w.groups()));
  for (int64_t begin = 0; begin < m; begin += kTokens) {
    QuantizedRows split{std::min(kTokens, m - begin), w.k, w.group};
    split_rows(split, x + begin * w.k, {codes.data(), scales.data(), sums.data()});
    split.codes = codes.data();
    split.scales = scales.data();
    split.sums = sums.data();
    split.planes = kPlanes;
    matmul_a8(w, split, range, y + begin * w.n, level);
  }
}

}  // namespace

Status matmul_a8(const PackedMatrix& w,
                 const QuantizedRows& x,
                 const OutputRange& range,
                 float* y,
                 CpuLevel level) {
  const Status status = check_a8(w, x, range);
  if (status != Status::kOk || nothing(x.m, range))
    return status;
  if (level == CpuLevel::kAmx && amx::takes(w, x))
    amx::matmul_a8(w, x, range, y);
  else if (level >= CpuLevel::kAvx512)
    avx512::matmul_a8(w, x, range, y);
  else if (level == CpuLevel::kAvx2)
    avx2::matmul_a8(w, x, range, y);
  else
    portable::matmul_a8(w, x, range, y);
  return Status::kOk;
}

Status matmul_a16(const PackedMatrix& w,
                  int64_t m,
                  const float* x,
                  const OutputRange& range,
                  float* y,
                  CpuLevel level) {
  const Status status = check_range(w, m, range);
  if (status != Status::kOk || nothing(m, range))
    return status;
  if (w.whole())
    split_product(w, m, x, range, y, level);
  else if (level >= CpuLevel::kAvx512)
    avx512::matmul_a16(w, m, x, range, y);
  else if (level == CpuLevel::kAvx2)
    avx2::matmul_a16(w, m, x, range, y);
  else
    portable::matmul_a16(w, m, x, range, y);
  return Status::kOk;
}

}  // namespace sterna::kernels
