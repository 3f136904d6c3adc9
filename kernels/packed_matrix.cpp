// Codes in the order in which a product reads them. A panel of 16 outputs gives a vector of 64
// bytes 16 outputs times 4 inputs, which is what a product of bytes (vpdpbusd) takes; with fewer
// bits several such vectors lie in the bits of one, and come out by a shift and a mask.
#include "kernels/packed_matrix.h"

#include <cmath>

#include "kernels/packed_code.h"

namespace sterna::kernels {
namespace {

constexpr int kMostLevels = 16;

/// Packed codes of one row of dINT's levels, and its zero.
struct DintRow {
  uint8_t code[kMostLevels] = {};
  int zero = 0;  ///< in half steps
};

/// False where the levels are not the integers -z .. 13 - z, or some of them, and two half steps.
bool read_dint(const float* levels, int64_t count, DintRow* row) {
  float least = 0;
  bool halves[2] = {false, false};
  for (int64_t i = 0; i < count; ++i) {
    least = std::fmin(least, levels[i]);
    halves[0] = halves[0] || levels[i] == -0.5f;
    halves[1] = halves[1] || levels[i] == 0.5f;
  }
  if (!halves[0] || !halves[1] || !(least > -kDintIntegers))
    return false;
  least = least == -0.5f ? 0.0f : least;
  for (int64_t i = 0; i < count; ++i) {
    const float above = levels[i] - least;
    if (levels[i] == 0.5f)
      row->code[i] = kDintIntegers;
    else if (levels[i] == -0.5f)
      row->code[i] = kDintIntegers + 1;
    else if (above >= 0 && above < kDintIntegers && above == std::rint(above))
      row->code[i] = static_cast<uint8_t>(above);
    else
      return false;
  }
  row->zero = static_cast<int>(-2 * least);
  return true;
}

int64_t scale_count(const WeightCodes& codes) {
  return codes.shared_scales ? 1 : codes.n * (codes.k / codes.group);
}

/// Zero of an affine code, in units of D and of u; false where it has none.
bool affine_zero(CodeFormat format, float zero, int64_t code_min, int32_t* out) {
  const float steps = format == CodeFormat::kEightBit ? 1.0f : 2.0f;
  const float scaled = steps * (zero - static_cast<float>(code_min));
  const float most = steps * static_cast<float>((1 << code_bits(format)) - 1);
  if (!(scaled >= 0 && scaled <= most) || scaled != std::rint(scaled))
    return false;
  *out = static_cast<int32_t>(scaled);
  return true;
}

Status plan_affine(const WeightCodes& codes, PackedMatrix* plan) {
  plan->format = codes.bits <= 2   ? CodeFormat::kTwoBit
                 : codes.bits <= 4 ? CodeFormat::kFourBit
                                   : CodeFormat::kEightBit;
  const int64_t count = codes.zeros != nullptr ? scale_count(codes) : 1;
  const float* zeros = codes.zeros != nullptr ? codes.zeros : &codes.offset;
  for (int64_t i = 0; i < count; ++i) {
    int32_t zero = 0;
    if (!affine_zero(plan->format, zeros[i], codes.code_min, &zero))
      return Status::kUnsupported;
    plan->own_zeros = plan->own_zeros || (i > 0 && zero != plan->zero);
    plan->zero = zero;
  }
  return Status::kOk;
}

Status plan_levels(const WeightCodes& codes, PackedMatrix* plan) {
  if (codes.bits > 4 || codes.level_count > kMostLevels)
    return Status::kUnsupported;
  DintRow row;
  int64_t dint_rows = 0;
  for (; dint_rows < codes.level_rows; ++dint_rows) {
    if (!read_dint(codes.levels + dint_rows * codes.level_count, codes.level_count, &row))
      break;
  }
  if (codes.level_rows > 0 && codes.level_rows <= kMostLevels && dint_rows == codes.level_rows) {
    plan->format = CodeFormat::kDint;
    plan->own_zeros = codes.zeros != nullptr && !codes.shared_scales;
    const auto at = codes.zeros != nullptr ? static_cast<int64_t>(codes.zeros[0]) : 0;
    read_dint(codes.levels + at * codes.level_count, codes.level_count, &row);
    plan->zero = row.zero;
    return Status::kOk;
  }
  if (codes.level_rows != 1)
    return Status::kUnsupported;
  plan->format = CodeFormat::kTable;
  for (int64_t i = 0; i < codes.level_count; ++i)
    plan->levels[i] = codes.levels[i];
  return Status::kOk;
}

bool in_steps_of_half(CodeFormat format) {
  return format != CodeFormat::kTable && format != CodeFormat::kEightBit;
}

float scale_to_store(CodeFormat format, float scale) {
  return in_steps_of_half(format) ? 0.5f * scale : scale;
}

/// Chooses how scales are stored. False where one cannot be halved exactly.
bool plan_scales(const WeightCodes& codes, PackedMatrix* plan) {
  plan->half_scales = true;
  for (int64_t i = 0; i < scale_count(codes); ++i) {
    const float stored = scale_to_store(plan->format, codes.scales[i]);
    if (in_steps_of_half(plan->format) && 2 * stored != codes.scales[i])
      return false;
    plan->half_scales = plan->half_scales && (std::bit_cast<uint32_t>(stored) & 0xffffu) == 0;
  }
  return true;
}

bool valid(const WeightCodes& codes) {
  return codes.n >= 0 && codes.k > 0 && codes.k <= kMaxInputs && codes.group > 0 &&
         codes.k % codes.group == 0 && codes.bits > 0 && codes.bits <= 8 &&
         (codes.group == codes.k || (codes.group % kBlockInputs == 0 && !codes.shared_scales));
}

/// Writes what one output has of one group.
class RowWriter {
 public:
  RowWriter(const WeightCodes& codes, const PackedMatrix& plan) : codes_(codes), plan_(plan) {
    for (int64_t r = 0; plan.format == CodeFormat::kDint && r < codes.level_rows; ++r)
      read_dint(codes.levels + r * codes.level_count, codes.level_count, &dint_[r & 15]);
  }

  void write(int64_t n, int64_t g, uint8_t* group) const {
    const int64_t at = codes_.shared_scales ? 0 : n * plan_.groups() + g;
    const int64_t row = n % kPanelRows;
    const float chosen = codes_.zeros != nullptr ? codes_.zeros[at] : codes_.offset;
    const DintRow& dint = dint_[codes_.zeros != nullptr ? static_cast<int64_t>(chosen) & 15 : 0];
    const int8_t* from = codes_.codes + n * plan_.k + g * plan_.group;
    for (int64_t i = 0; i < plan_.group; ++i) {
      auto u = static_cast<unsigned>(from[i] - codes_.code_min);
      u = plan_.format == CodeFormat::kDint ? dint.code[u & 15] : u;
      const CodeSlot slot = slot_of(plan_.format, row, i);
      group[slot.byte] = static_cast<uint8_t>(group[slot.byte] | u << slot.shift);
    }
    write_scale(scale_to_store(plan_.format, codes_.scales[at]), group, row);
    if (plan_.own_zeros)
      write_zero(dint.zero, chosen, group, row);
  }

 private:
  void write_scale(float scale, uint8_t* group, int64_t row) const {
    const uint32_t bits = std::bit_cast<uint32_t>(scale);
    const auto upper = static_cast<uint16_t>(bits >> 16);
    if (plan_.half_scales)
      std::memcpy(group + scales_at(plan_) + row * 2, &upper, sizeof upper);
    else
      std::memcpy(group + scales_at(plan_) + row * 4, &bits, sizeof bits);
  }

  void write_zero(int32_t dint_zero, float affine, uint8_t* group, int64_t row) const {
    int32_t zero = dint_zero;
    if (plan_.format != CodeFormat::kDint)
      affine_zero(plan_.format, affine, codes_.code_min, &zero);
    const auto stored = static_cast<int16_t>(zero);
    std::memcpy(group + zeros_at(plan_) + row * 2, &stored, sizeof stored);
  }

  const WeightCodes& codes_;
  const PackedMatrix& plan_;
  DintRow dint_[kMostLevels];
};

}  // namespace

int64_t PackedMatrix::block_bytes() const {
  return kPanelRows * kBlockInputs * code_bits(format) / 8;
}

int64_t PackedMatrix::group_bytes() const {
  return zeros_at(*this) + (own_zeros ? kPanelRows * 2 : 0);
}

Status plan_packing(const WeightCodes& codes, PackedMatrix* plan) {
  if (!valid(codes))
    return Status::kInvalidShape;
  *plan = PackedMatrix{};
  plan->n = codes.n;
  plan->k = codes.k;
  plan->group = codes.group;
  if (codes.n == 0)
    return Status::kOk;
  const Status status =
      codes.levels != nullptr ? plan_levels(codes, plan) : plan_affine(codes, plan);
  if (status == Status::kOk && !plan_scales(codes, plan))
    return Status::kUnsupported;
  return status;
}

void pack(const WeightCodes& codes, const PackedMatrix& plan, uint8_t* panels) {
  std::memset(panels, 0, static_cast<size_t>(plan.bytes()));
  const RowWriter writer(codes, plan);
  for (int64_t n = 0; n < plan.n; ++n) {
    uint8_t* panel = panels + n / kPanelRows * plan.panel_bytes();
    for (int64_t g = 0; g < plan.groups(); ++g)
      writer.write(n, g, panel + g * plan.group_bytes());
  }
}

Status unpack(const PackedMatrix& w, int64_t row_begin, int64_t row_end, float* out) {
  if (row_begin < 0 || row_end < row_begin || w.n < row_end)
    return Status::kInvalidShape;
  for (int64_t n = row_begin; n < row_end; ++n)
    decode_row(w, n, out + n * w.k);
  return Status::kOk;
}

}  // namespace sterna::kernels
