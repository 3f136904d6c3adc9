#pragma once

#include <cstdint>

#include "kernels/status.h"

namespace sterna::kernels {

/// A weight matrix as training leaves it: one int8 a code, row-major.
///   affine (levels null): value = (code - zero) * scale
///   levels:               value = levels[row][code - code_min] * scale
struct WeightCodes {
  int64_t n = 0;
  int64_t k = 0;
  int64_t group = 0;  ///< inputs that share a scale: K, or a multiple of 16 that divides K
  int64_t bits = 0;   ///< 0 <= code - code_min < 2^bits
  int64_t code_min = 0;
  const int8_t* codes = nullptr;  ///< [N, K]
  const float* scales = nullptr;  ///< [N, G], G = K / group; [1] where shared
  const float* zeros = nullptr;   ///< [N, G] (or [1]): zero, or which row of levels; may be null
  float offset = 0;               ///< the zero of all, where `zeros` is null
  bool shared_scales = false;     ///< one scale (and zero) for the whole matrix
  const float* levels = nullptr;  ///< [level_rows, level_count]
  int64_t level_count = 0;
  int64_t level_rows = 0;
};

/// How a packed code u becomes D; a weight is D times its stored scale. Whole D can be multiplied
/// by integers (matmul_a8); tables are for matmul_a16 alone.
enum class CodeFormat : uint8_t {
  kTwoBit,    ///< D = 2 u - zero: ternary, -2 .. 1, SEQ's half steps, asymmetric ones
  kFourBit,   ///< D = 2 u - zero
  kDint,      ///< four bits: D = 2 u - zero for u < 14, +1 for 14, -1 for 15; dINT3 and dINT4
  kTable,     ///< four bits: D = levels[u], floats; NF4, k-means
  kEightBit,  ///< D = u - zero
};

constexpr int64_t kPanelRows = 16;     ///< outputs of a panel
constexpr int64_t kBlockInputs = 16;   ///< inputs of a block
constexpr int64_t kMaxInputs = 65536;  ///< of one matrix: sums of 8 x 8 bits stay below 2^31

/// W [N, K] in its codes' own bits, in the order in which the processor reads them:
///   panels   16 outputs each, one after the other, `panel_bytes` apart; absent outputs are zeros
///   a panel  its G groups, `group_bytes` apart
///   a group  its blocks of 16 inputs, 16 scales (bf16 or fp32), 16 int16 zeros where they differ
///   a block  a byte holds 8 / bits inputs of one output, 4 apart, the lowest bits first; byte
///            64 v + 4 n + j, slot p holds output n, input (v 8 / bits + p) 4 + j
/// Scales are stored times 1/2 where D counts half steps. Inputs past the last are any code.
struct PackedMatrix {
  int64_t n = 0;
  int64_t k = 0;
  int64_t group = 0;
  CodeFormat format = CodeFormat::kTwoBit;
  bool half_scales = false;         ///< bf16 scales: all of them are exact in it
  bool own_zeros = false;           ///< zeros in every group; else `zero` serves all
  int32_t zero = 0;                 ///< of u, in units of D
  float levels[16] = {};            ///< kTable
  const uint8_t* panels = nullptr;  ///< of any alignment; 64 is the fastest

  int64_t groups() const { return group > 0 ? k / group : 0; }
  int64_t panel_count() const { return (n + kPanelRows - 1) / kPanelRows; }
  int64_t block_bytes() const;  ///< 64, 128 or 256
  int64_t group_blocks() const { return (group + kBlockInputs - 1) / kBlockInputs; }
  int64_t group_bytes() const;
  int64_t panel_bytes() const { return groups() * group_bytes(); }
  int64_t bytes() const { return panel_count() * panel_bytes(); }
  bool whole() const { return format != CodeFormat::kTable; }  ///< may be given to matmul_a8
};

/// What pack() will make of `codes`: all but `panels`, for which bytes() says the room.
/// @return  kInvalidShape; kUnsupported for more than 16 levels, levels that differ by group and
///          are not dINT's, zeros that are no half step or not among the codes: these must be
///          decoded first
Status plan_packing(const WeightCodes& codes, PackedMatrix* plan);

/// Writes bytes() to `panels`; the caller sets plan.panels to it.
void pack(const WeightCodes& codes, const PackedMatrix& plan, uint8_t* panels);

/// The values D * scale of rows row_begin <= n < row_end as fp32 [N, K]: what was packed, bit for
/// bit equal to its decoding. @param out  the first row of the whole matrix
Status unpack(const PackedMatrix& w, int64_t row_begin, int64_t row_end, float* out);

}  // namespace sterna::kernels
