#pragma once

#include <cstring>
#include <memory>

#include "kernels/gpu_matrix.h"
#include "tests/kernels/packed_cases.h"

namespace sterna::kernels {

/// A packed matrix in the GPU's order, in the host's memory.
struct GpuCase {
  GpuMatrix matrix;
  Status status;

  explicit GpuCase(const PackedMatrix& w) : status(plan_for_gpu(w, &matrix)) {
    if (status != Status::kOk)
      return;
    buffer_ = std::make_unique<Sixteen[]>(static_cast<size_t>(matrix.bytes() / 16 + 1));
    repack_for_gpu(w, matrix, buffer_[0].bytes);
    matrix.data = buffer_[0].bytes;
  }

 private:
  struct alignas(16) Sixteen {
    uint8_t bytes[16];
  };
  std::unique_ptr<Sixteen[]> buffer_;
};

/// A shape that some remainder is left of.
struct GpuShape {
  CaseShape weights;
  int64_t m = 1;
};

/// @param most_n, most_m  of the shape
inline GpuShape random_gpu_shape(int64_t most_n, int64_t most_m, std::mt19937& random) {
  const auto draw = [&](int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(random);
  };
  GpuShape shape;
  const bool grouped = draw(0, 1) == 1;
  shape.weights.group = grouped ? 32 * draw(1, 5) : draw(1, 500);
  shape.weights.k = shape.weights.group * (grouped ? draw(1, 4) : 1);
  shape.weights.n = draw(1, most_n);
  shape.weights.float_scales = draw(0, 1) == 1;
  shape.weights.worst = draw(0, 3) == 0;
  shape.m = draw(1, most_m);
  return shape;
}

}  // namespace sterna::kernels
