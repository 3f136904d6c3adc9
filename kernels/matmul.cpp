#include "kernels/matmul.h"

#include "kernels/matmul_check.h"
#include "kernels/matmul_variants.h"

namespace sterna::kernels {
namespace {

bool nothing(int64_t m, const OutputRange& range) {
  return m == 0 || range.begin == range.end;
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
  if (level >= CpuLevel::kAvx512)
    avx512::matmul_a16(w, m, x, range, y);
  else if (level == CpuLevel::kAvx2)
    avx2::matmul_a16(w, m, x, range, y);
  else
    portable::matmul_a16(w, m, x, range, y);
  return Status::kOk;
}

}  // namespace sterna::kernels
