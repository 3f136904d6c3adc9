#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <vector>

#include "kernels/packed_matrix.h"
#include "kernels/quantize_rows.h"

namespace sterna::kernels {

/// Every kind of weights that packs, by the name of a scheme that makes it.
enum class Kind {
  kTernary,   ///< -1, 0, 1
  kTwo,       ///< -2 .. 1
  kSeq,       ///< half steps
  kAsym2,     ///< zeros of its own
  kInt4,      ///< -8 .. 7
  kAsym4,     ///< zeros of its own
  kDint4,     ///< symmetric
  kDintAsym,  ///< rows of levels by group
  kDint3,     ///< the same in three bits
  kInt8,      ///< -128 .. 127
  kAsym8,     ///< zeros of its own
  kNormal4,   ///< floats: for matmul_a16 alone
};
constexpr int kKinds = 12;
constexpr int kWholeKinds = 11;

/// A random matrix of one kind, with what owns its parts.
struct PackedCase {
  WeightCodes codes;
  std::vector<int8_t> code_values;
  std::vector<float> scales, zeros, levels;
  std::vector<uint8_t> buffer;
  PackedMatrix packed;
  Status status = Status::kOk;

  /// (code - zero) * scale or level * scale: what a code means, by the words of WeightCodes.
  float value(int64_t n, int64_t i) const {
    const int64_t at = n * (codes.k / codes.group) + i / codes.group;
    const int code = code_values[static_cast<size_t>(n * codes.k + i)];
    const float chosen = zeros.empty() ? codes.offset : zeros[static_cast<size_t>(at)];
    if (levels.empty())
      return (static_cast<float>(code) - chosen) * scales[static_cast<size_t>(at)];
    const auto row = zeros.empty() ? 0 : static_cast<int64_t>(chosen);
    return levels[static_cast<size_t>(row * codes.level_count + code - codes.code_min)] *
           scales[static_cast<size_t>(at)];
  }
};

/// Integers from .. to and the halves, ascending; as quant's dINT lists them.
inline void add_dint_levels(int from, int to, std::vector<float>* levels) {
  const auto at = levels->size();
  for (int i = from; i <= to; ++i)
    levels->push_back(static_cast<float>(i));
  levels->push_back(-0.5f);
  levels->push_back(0.5f);
  std::sort(levels->begin() + static_cast<int64_t>(at), levels->end());
}

struct CaseShape {
  int64_t n = 1;
  int64_t k = 16;
  int64_t group = 16;
  bool float_scales = false;  ///< scales that bf16 does not hold
  bool worst = false;         ///< every code is the largest or smallest
  int64_t misalign = 0;       ///< bytes that the panels are off by
};

class CaseMaker {
 public:
  CaseMaker(Kind kind, const CaseShape& shape, std::mt19937& random)
      : shape_(shape), random_(random) {
    WeightCodes& c = made.codes;
    c.n = shape.n;
    c.k = shape.k;
    c.group = shape.group;
    choose(kind);
    fill();
  }

  PackedCase made;

 private:
  int64_t groups() const { return shape_.n * (shape_.k / shape_.group); }
  int below(int count) { return std::uniform_int_distribution<int>(0, count - 1)(random_); }

  void affine(int64_t bits, int64_t code_min, int64_t codes, float offset) {
    made.codes.bits = bits;
    made.codes.code_min = code_min;
    count_ = codes;
    made.codes.offset = offset;
  }

  void own_zeros(int count, int from) {
    for (int64_t i = 0; i < groups(); ++i)
      made.zeros.push_back(static_cast<float>(from + below(count)));
  }

  void tables(int64_t bits, int integers) {
    affine(bits, 0, integers + 2, 0);
    made.codes.level_count = integers + 2;
    if (made.codes.level_rows > 0)
      return;
    for (int zero = 0; zero < integers; ++zero)
      add_dint_levels(-zero, integers - 1 - zero, &made.levels);
    made.codes.level_rows = integers;
    own_zeros(integers, 0);
  }

  void choose(Kind kind) {
    switch (kind) {
      case Kind::kTernary:
        return affine(2, -1, 3, 0);
      case Kind::kTwo:
        return affine(2, -2, 4, 0);
      case Kind::kSeq:
        return affine(2, -2, 4, -0.5f);
      case Kind::kAsym2:
        affine(2, 0, 4, 0);
        return own_zeros(4, 0);
      case Kind::kInt4:
        return affine(4, -8, 16, 0);
      case Kind::kAsym4:
        affine(4, 0, 16, 0);
        return own_zeros(16, 0);
      case Kind::kDint4:
        made.codes.level_rows = 1;
        tables(4, 13);
        return add_dint_levels(-6, 6, &made.levels);
      case Kind::kDintAsym:
        return tables(4, 14);
      case Kind::kDint3:
        return tables(3, 6);
      case Kind::kInt8:
        return affine(8, -128, 256, 0);
      case Kind::kAsym8:
        affine(8, -128, 256, 0);
        return own_zeros(256, -128);
      case Kind::kNormal4:
        affine(4, 0, 16, 0);
        made.codes.level_count = 16;
        made.codes.level_rows = 1;
        for (int i = 0; i < 16; ++i)
          made.levels.push_back(std::normal_distribution<float>()(random_));
    }
  }

  void fill() {
    WeightCodes& c = made.codes;
    for (int64_t i = 0; i < shape_.n * shape_.k; ++i) {
      const int code =
          shape_.worst ? static_cast<int>(count_ - 1) * below(2) : below(static_cast<int>(count_));
      made.code_values.push_back(static_cast<int8_t>(c.code_min + code));
    }
    for (int64_t i = 0; i < groups(); ++i) {
      const float scale = std::ldexp(static_cast<float>(129 + below(127)), -12);
      made.scales.push_back(shape_.float_scales ? scale * 1.0001f : scale);
    }
    c.codes = made.code_values.data();
    c.scales = made.scales.data();
    c.zeros = made.zeros.empty() ? nullptr : made.zeros.data();
    c.levels = made.levels.empty() ? nullptr : made.levels.data();
    made.status = plan_packing(c, &made.packed);
    if (made.status != Status::kOk)
      return;
    made.buffer.resize(static_cast<size_t>(made.packed.bytes() + shape_.misalign) + 1);
    made.packed.panels = made.buffer.data() + shape_.misalign;
    pack(c, made.packed, made.buffer.data() + shape_.misalign);
  }

  CaseShape shape_;
  std::mt19937& random_;
  int64_t count_ = 0;
};

/// 8-bit activations with what owns them.
struct QuantizedCase {
  QuantizedRows rows;
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> sums;
};

/// Random codes -128 .. 127, or only the ends of it, at an address off by `misalign`.
inline QuantizedCase quantized_case(
    int64_t m, const PackedMatrix& w, bool worst, int64_t misalign, std::mt19937& random) {
  QuantizedCase made;
  const int64_t stride = activation_stride(w.k);
  std::uniform_int_distribution<int> code(-128, 127);
  made.codes.resize(static_cast<size_t>(m * stride + misalign));
  int8_t* codes = made.codes.data() + misalign;
  for (int64_t t = 0; t < m; ++t) {
    made.scales.push_back(std::ldexp(static_cast<float>(1 + code(random) + 128), -9));
    for (int64_t g = 0; g < w.k / w.group; ++g) {
      int32_t sum = 0;
      for (int64_t i = g * w.group; i < (g + 1) * w.group; ++i) {
        const int drawn = code(random);
        codes[t * stride + i] = static_cast<int8_t>(worst ? (drawn < -90 ? 127 : -128) : drawn);
        sum += codes[t * stride + i];
      }
      made.sums.push_back(sum);
    }
  }
  made.rows = {m, w.k, w.group, codes, made.scales.data(), made.sums.data()};
  return made;
}

}  // namespace sterna::kernels
