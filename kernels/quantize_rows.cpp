// Activations as 8-bit integers, one scale a row (token); formulas as in quant/act_levels.cpp:
//   m = max(min(max|x|, clip), 1e-5),  code = clamp(round(x top / m), -top, top),  step = m / top
#include "kernels/quantize_rows.h"

#include <algorithm>
#include <cmath>

#include "kernels/lanes.h"

namespace sterna::kernels {
namespace {

constexpr float kLeastReach = 1e-5f;

/// A row as it lies in memory.
struct PlainRow {
  const float* x;
  STERNA_INLINE Float8 at(int64_t i, int64_t count) const { return load(x + i, count); }
};

/// A row of rms_norm's.
struct NormedRow {
  const float* x;
  const float* weight;
  float rstd;
  STERNA_INLINE Float8 at(int64_t i, int64_t count) const {
    return load(weight + i, count) * (load(x + i, count) * rstd);
  }
};

template <class Row>
float reach_of(const Row& row, int64_t k) {
  Float8 lanes[2] = {};
  for_eights(
      k, [&](int64_t i, int64_t count, int half) __attribute__((always_inline)) {
        lanes[half] = most(magnitude(row.at(i, count)), lanes[half]);
      });
  return fold_lanes(lanes, [](const Float8& a, const Float8& b) { return most(a, b); });
}

/// @return  false where a value is no number
template <class Row>
bool write_codes(const Row& row, int64_t k, const ActGrid& grid, int8_t* codes) {
  const ActGrid by = grid;
  Int8 broken = {};
  for_eights(
      k, [&](int64_t i, int64_t count, int) __attribute__((always_inline)) {
        const Float8 v = row.at(i, count) * by.inverse;
        broken |= v != v;
        const Float8 above = pick(v < by.lo, all(by.lo), v);
        const Float8 code = round_even(pick(above > by.hi, all(by.hi), above));
        const Int8 whole = __builtin_convertvector(code, Int8);
        using Small = int8_t __attribute__((vector_size(8)));
        const Small small = __builtin_convertvector(whole, Small);
        std::memcpy(codes + i, &small, static_cast<size_t>(std::min(count, kEight)));
      });
  for (int lane = 0; lane < kEight; ++lane)
    if (broken[lane] != 0)
      return false;
  return true;
}

constexpr float kSplitTop = 4194303;  // 2^22 - 1: what round_even() takes
constexpr float kLeastSplit = 1e-30f;

/// The three digits of each value, base 256, from -128 to 127. @return  as write_codes
bool write_digits(const PlainRow& row, int64_t k, float inverse, int64_t stride, int8_t* codes) {
  Int8 broken = {};
  for_eights(
      k, [&](int64_t i, int64_t count, int) __attribute__((always_inline)) {
        const Float8 v = row.at(i, count) * inverse;
        broken |= v != v;
        const Float8 code = round_even(clamp(v, all(-kSplitTop), all(kSplitTop)));
        Int8 whole = __builtin_convertvector(code, Int8);
        using Small = int8_t __attribute__((vector_size(8)));
        for (int plane = 2; plane >= 0; --plane) {
          const Small digit = __builtin_convertvector(whole, Small);
          std::memcpy(
              codes + plane * stride + i, &digit, static_cast<size_t>(std::min(count, kEight)));
          whole = (whole - __builtin_convertvector(digit, Int8)) >> 8;
        }
      });
  for (int lane = 0; lane < kEight; ++lane)
    if (broken[lane] != 0)
      return false;
  return true;
}

ActGrid grid_of(const RowRule& rule, float reach) {
  const float m = std::max(std::min(reach, rule.clip), kLeastReach);
  return {0, rule.top / m, m / rule.top, -rule.top, rule.top};
}

void add_up(const QuantizedRows& rows, const int8_t* codes, int32_t* sums) {
  for (int64_t g = 0; g < rows.k / rows.group; ++g) {
    int32_t sum = 0;
    for (int64_t i = 0; i < rows.group; ++i)
      sum += codes[g * rows.group + i];
    sums[g] = sum;
  }
}

template <class Row>
void quantize_row(const QuantizedRows& rows,
                  int64_t m,
                  const Row& row,
                  const ActGrid& grid,
                  QuantizedBuffers out) {
  const int64_t stride = activation_stride(rows.k);
  int8_t* codes = out.codes + m * stride;
  const bool numbers = write_codes(row, rows.k, grid, codes);
  std::fill(codes + rows.k, codes + stride, int8_t{0});
  out.scales[m] =
      numbers && std::isfinite(grid.step) ? grid.step : std::numeric_limits<float>::quiet_NaN();
  add_up(rows, codes, out.sums + m * (rows.k / rows.group));
}

bool valid(const QuantizedRows& rows) {
  return rows.m >= 0 && rows.k > 0 && rows.group > 0 && rows.k % rows.group == 0;
}

bool fits(const ActGrid& grid) {
  return grid.origin == 0 && grid.lo >= -128 && grid.hi <= 127;
}

}  // namespace

Status quantize_rows(const QuantizedRows& rows,
                     const float* x,
                     const RowRule& rule,
                     const ActGrid* grids,
                     const QuantizedBuffers& out) {
  if (!valid(rows))
    return Status::kInvalidShape;
  if (!(grids == nullptr ? rule.top <= 127 : std::all_of(grids, grids + rows.m, fits)))
    return Status::kUnsupported;
  for (int64_t m = 0; m < rows.m; ++m) {
    const PlainRow row{x + m * rows.k};
    const ActGrid grid = grids != nullptr ? grids[m] : grid_of(rule, reach_of(row, rows.k));
    quantize_row(rows, m, row, grid, out);
  }
  return Status::kOk;
}

Status split_rows(const QuantizedRows& rows, const float* x, const QuantizedBuffers& out) {
  if (!valid(rows))
    return Status::kInvalidShape;
  const int64_t stride = activation_stride(rows.k), groups = rows.k / rows.group;
  for (int64_t m = 0; m < rows.m; ++m) {
    const PlainRow row{x + m * rows.k};
    const float reach = reach_of(row, rows.k);
    const float top = std::max(reach, kLeastSplit);
    int8_t* codes = out.codes + 3 * m * stride;
    const bool numbers = write_digits(row, rows.k, kSplitTop / top, stride, codes);
    const float step =
        numbers && std::isfinite(reach) ? top / kSplitTop : std::numeric_limits<float>::quiet_NaN();
    for (int64_t plane = 0; plane < 3; ++plane, codes += stride) {
      std::fill(codes + rows.k, codes + stride, int8_t{0});
      out.scales[3 * m + plane] = std::ldexp(step, static_cast<int>(16 - 8 * plane));
      add_up(rows, codes, out.sums + (3 * m + plane) * groups);
    }
  }
  return Status::kOk;
}

Status rms_norm_quantize_rows(const QuantizedRows& rows,
                              const float* x,
                              const float* weight,
                              float eps,
                              const RowRule& rule,
                              const QuantizedBuffers& out,
                              CpuLevel level) {
  if (!valid(rows))
    return Status::kInvalidShape;
  for (int64_t m = 0; m < rows.m; ++m) {
    const float* from = x + m * rows.k;
    const NormedRow row{from, weight, rms_rstd(from, rows.k, eps, level)};
    quantize_row(rows, m, row, grid_of(rule, reach_of(row, rows.k)), out);
  }
  return Status::kOk;
}

}  // namespace sterna::kernels
