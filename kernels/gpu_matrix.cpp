// From the order in which the processor reads packed weights to that of a GPU's warps.
#include "kernels/gpu_matrix.h"

#include <algorithm>
#include <iterator>

#include "kernels/gpu_layout.h"
#include "kernels/packed_code.h"

namespace sterna::kernels {
namespace {

void write_codes(const PackedMatrix& w, const GpuMatrix& plan, int64_t n, uint8_t* units) {
  const int64_t inputs = plan.unit_inputs();
  const int row = static_cast<int>(n % kPanelRows);
  for (int64_t i = 0; i < w.k; ++i) {
    const uint8_t* group = group_at(w, n, i / w.group);
    const auto code = static_cast<uint32_t>(stored_code(w, group, row, i % w.group));
    const UnitSlot slot = unit_slot(w.format, row, static_cast<int>(i % inputs));
    uint8_t* at = units + i / inputs * kUnitBytes + slot.byte;
    uint32_t word = 0;
    std::memcpy(&word, at, sizeof word);
    word |= code << slot.shift;
    std::memcpy(at, &word, sizeof word);
  }
}

void write_tables(const PackedMatrix& w, const GpuMatrix& plan, int64_t n, uint8_t* data) {
  for (int64_t g = 0; g < w.groups(); ++g) {
    const uint8_t* group = group_at(w, n, g);
    const int64_t row = n % kPanelRows, size = w.half_scales ? 2 : 4;
    const int64_t at = (n / kPanelRows * w.groups() + g) * kPanelRows + row;
    std::copy_n(group + scales_at(w) + row * size, size, data + plan.scales_at() + at * size);
    if (w.own_zeros)
      std::copy_n(group + zeros_at(w) + row * 2, 2, data + plan.zeros_at() + at * 2);
  }
}

}  // namespace

Status plan_for_gpu(const PackedMatrix& w, GpuMatrix* plan) {
  if (w.group != w.k && w.group % kStepInputs != 0)
    return Status::kUnsupported;
  *plan = GpuMatrix{};
  plan->n = w.n;
  plan->k = w.k;
  plan->group = w.group;
  plan->format = w.format;
  plan->half_scales = w.half_scales;
  plan->own_zeros = w.own_zeros;
  plan->zero = w.zero;
  std::copy(std::begin(w.levels), std::end(w.levels), plan->levels);
  return Status::kOk;
}

void repack_for_gpu(const PackedMatrix& w, const GpuMatrix& plan, uint8_t* data) {
  std::memset(data, 0, static_cast<size_t>(plan.bytes()));
  for (int64_t n = 0; n < w.n; ++n) {
    write_codes(w, plan, n, data + n / kPanelRows * plan.units() * kUnitBytes);
    write_tables(w, plan, n, data);
  }
}

}  // namespace sterna::kernels
