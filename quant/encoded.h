#pragma once

#include <cstdint>

#include <ATen/ATen.h>

namespace sterna::quant {

using at::Tensor;

/// How codes become values.
enum class Grid {
  kAffine,  ///< (code - offset) * scale
  kLevels,  ///< levels[code - code_min] * scale; NF, dINT, k-means
};

/// A weight matrix as small integers. N outputs, K inputs, G = K / group scales a row.
///
/// Codes of an affine grid count the format's smallest step, so half-step formats (SEQ) and
/// asymmetric ones decode by the same product.
struct Encoded {
  Grid grid = Grid::kAffine;
  Tensor codes;   ///< int8 [N, K], 0 <= code - code_min < 2^bits
  Tensor scales;  ///< fp32 [N, G], already rounded to `scale_dtype`; [1, 1] where one for all
  /// kAffine: fp32 [N, G] offsets per group; undefined where `offset` serves all.
  /// kLevels: fp32 [N, G], which row of `levels` a group uses; undefined where there is one.
  Tensor zeros;
  double offset = 0;  ///< integer or half step, used where `zeros` is undefined
  Tensor levels;      ///< fp32 [L] or [R, L]; kLevels only
  /// fp32 [N, G]: scale of levels below zero, where they have their own; kLevels only
  Tensor scales_below;
  int64_t group = 0;  ///< inputs that share a scale; divides K; K where a row (or all) shares one
  int64_t bits = 0;   ///< stored bits of one code
  int64_t code_min = 0;  ///< smallest code: 0 for unsigned grids, -1 for ternary
  at::ScalarType scale_dtype = at::kBFloat16;
};

/// Values of `encoded`, fp32 [N, K], or rounded once to `dtype`. Every value is
/// float(code - offset) * scale, or level * scale, one fp32 multiplication: the definition
/// everything is held to.
Tensor decode(const Encoded& encoded, at::ScalarType dtype = at::kFloat);

/// The same written into `out` [N, K] (fp32, bf16 or fp16, contiguous): the training step's path.
void decode_into(const Encoded& encoded, Tensor& out);

/// Stored bits of one weight, scales and zero points included, and tables of levels where every
/// group has its own; a table or two of a few hundred bytes a matrix are not.
double bits_per_weight(const Encoded& encoded);

}  // namespace sterna::quant
