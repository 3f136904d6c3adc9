// Which blocks hold a grid exactly (formats.md 9). Every value is an integer n times a step: n
// counts the grid's steps from zero, halves of them where the grid has none on zero. Types without
// mins hold a range of n; Q2_K and Q4_K hold n = scale q - min, q counting codes from the smallest
// one.
#include "trainer/export/gguf_blocks.h"

#include <cmath>
#include <cstdio>
#include <iterator>
#include <set>

#include <ATen/Parallel.h>

#include "recipes/user_error.h"
#include "trainer/export/tensors.h"
#include "trainer/io/ggml_block.h"

namespace sterna::exporter {

namespace {

using at::Tensor;
using io::Dtype;

constexpr Dtype kUpwards[] = {
    Dtype::kQ2_0, Dtype::kQ2_K, Dtype::kQ4_0, Dtype::kQ4_K, Dtype::kQ5_0, Dtype::kQ8_0};

struct StepCounts {
  Tensor n;             ///< int32 [N, K]
  Tensor steps;         ///< fp32 [N, G] or [1, 1]
  bool halves = false;  ///< n counts halves of a grid's step
  int64_t least = 0;    ///< of n
  int64_t most = 0;
};

/// How the blocks of a type would hold the counts.
struct BlockFit {
  bool grid = false;  ///< the type has such levels, whatever the shape
  std::string why;    ///< why it does not hold the matrix; empty where it does
  bool negated = false;
  int scale = 1;  ///< of K types
  int min = 0;    ///< likewise, where there are no zero points
};

bool all_integers(const Tensor& t) {
  return t.eq(t.round()).all().item<bool>();
}

std::string steps_text(int64_t least, int64_t most) {
  return std::to_string(least) + " to " + std::to_string(most);
}

/// @return  why the values are no multiples of a step; empty where they are
std::string count_steps(const quant::Encoded& e, StepCounts& out) {
  if (e.scales_below.defined())
    return "weights below zero have a scale of their own";
  Tensor n;
  if (e.grid == quant::Grid::kLevels) {
    out.halves = !all_integers(e.levels);
    const Tensor levels = e.levels * (out.halves ? 2 : 1);
    if (!all_integers(levels))
      return "its levels are no multiples of half a step";
    Tensor at = e.codes.to(at::kInt) - e.code_min;
    if (e.zeros.defined())  // which row of levels a group has
      at += e.zeros.to(at::kInt).repeat_interleave(e.group, 1) * e.levels.size(-1);
    n = levels.flatten().index_select(0, at.flatten()).view(e.codes.sizes());
  } else if (e.zeros.defined()) {
    if (!all_integers(e.zeros))
      return "its zero points are no integers";
    n = e.codes.to(at::kFloat) -
        (e.zeros.numel() == 1 ? e.zeros : e.zeros.repeat_interleave(e.group, 1));
  } else {
    const double offset = e.offset * 2;
    out.halves = e.offset != std::floor(e.offset);
    if (offset != std::floor(offset))
      return "its offset is no multiple of half a step";
    n = (e.codes.to(at::kFloat) - e.offset) * (out.halves ? 2 : 1);
  }
  out.n = n.to(at::kInt).contiguous();
  out.steps = (e.scales * (out.halves ? 0.5 : 1.0)).contiguous();
  out.least = out.n.numel() == 0 ? 0 : out.n.min().item<int64_t>();
  out.most = out.n.numel() == 0 ? 0 : out.n.max().item<int64_t>();
  return {};
}

/// Why fp16 does not hold the steps.
std::string not_half(const Tensor& steps) {
  const Tensor wrong = steps.to(at::kHalf).to(at::kFloat).ne(steps).flatten();
  if (!wrong.any().item<bool>())
    return {};
  const int64_t first = wrong.to(at::kByte).argmax().item<int64_t>();
  char number[32];
  std::snprintf(number, sizeof(number), "%.9g", steps.view({-1})[first].item<double>());
  return std::to_string(wrong.sum().item<int64_t>()) + " of its " + std::to_string(steps.numel()) +
         " scales are no half-precision numbers (the first: " + number +
         "), which is what blocks have; train with scale_dtype = \"bf16\" or \"fp16\"";
}

bool has_block_mins(Dtype type) {
  return type == Dtype::kQ2_K || type == Dtype::kQ4_K;
}

// Whoever reads values alone would take a zero times a negative scale for -0, so codes must come
// back.
void fit_range(Dtype type, const quant::Encoded& e, const StepCounts& counts, BlockFit& fit) {
  const auto [least, most] = io::code_range(type);
  const bool plain = counts.least >= least && counts.most <= most;
  fit.negated = !plain && !e.zeros.defined() && -counts.most >= least && -counts.least <= most;
  fit.grid = plain || fit.negated;
  if (!fit.grid)
    fit.why = "it has " + steps_text(least, most) + " steps, the grid " +
              steps_text(counts.least, counts.most);
}

void fit_mins(Dtype type, const quant::Encoded& e, const StepCounts& counts, BlockFit& fit) {
  const int64_t most_min = type == Dtype::kQ2_K ? 15 : 63;
  if (e.grid == quant::Grid::kLevels) {
    fit.why = "the grid's levels are not evenly spaced";
    return;
  }
  if ((int64_t{1} << e.bits) - 1 > io::code_range(type).most) {
    fit.why = "it has " + std::to_string(io::code_range(type).most + 1) + " levels, the grid " +
              std::to_string(int64_t{1} << e.bits);
    return;
  }
  fit.scale = counts.halves ? 2 : 1;
  const double code_min = static_cast<double>(e.code_min);
  const double least =
      e.zeros.defined() ? e.zeros.min().item<double>() - code_min : e.offset - code_min;
  const double most =
      e.zeros.defined() ? e.zeros.max().item<double>() - code_min : e.offset - code_min;
  fit.min = static_cast<int>(least * fit.scale);
  fit.grid = least >= 0 && most * fit.scale <= static_cast<double>(most_min);
  if (!fit.grid)
    fit.why = "its zero points lie outside 0 to " + std::to_string(most_min);
}

BlockFit fit_type(Dtype type, const quant::Encoded& e, const StepCounts& counts) {
  BlockFit fit;
  if (has_block_mins(type))
    fit_mins(type, e, counts, fit);
  else
    fit_range(type, e, counts, fit);
  const auto block = static_cast<int64_t>(io::block_elements(type));
  const int64_t k = e.codes.size(1);
  if (!fit.grid)
    return fit;
  if (k % block != 0)
    fit.why = std::to_string(k) + " inputs are no multiple of " + std::to_string(block);
  else if (counts.steps.numel() > 1 && e.group % block != 0)
    fit.why =
        std::to_string(block) + " inputs share a scale, here " + std::to_string(e.group) + " do";
  return fit;
}

/// Rows of counts as blocks.
Tensor pack_blocks(Dtype type,
                   const BlockFit& fit,
                   const quant::Encoded& e,
                   const StepCounts& counts) {
  const int64_t rows = e.codes.size(0), k = e.codes.size(1);
  const auto block = static_cast<int64_t>(io::block_elements(type));
  const auto sub = io::sub_block_elements(type);
  const auto bytes = static_cast<int64_t>(io::bytes_of(type, io::block_elements(type)));
  const bool one = counts.steps.numel() == 1;
  Tensor packed = at::empty({rows, k / block * bytes}, at::kByte);
  auto* to = reinterpret_cast<std::byte*>(packed.mutable_data_ptr<uint8_t>());
  const auto* n = counts.n.const_data_ptr<int32_t>();
  const auto* steps = counts.steps.const_data_ptr<float>();
  const Tensor zeros = e.zeros.defined() ? e.zeros.contiguous() : Tensor();
  const auto* zero = zeros.defined() ? zeros.const_data_ptr<float>() : nullptr;
  at::parallel_for(0, rows * (k / block), 64, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t group = b * block / e.group;  // rows are whole groups
      io::GgmlBlock out;
      out.d = steps[one ? 0 : group] * (fit.negated ? -1.0F : 1.0F);
      out.m = has_block_mins(type) ? out.d : 0;
      out.scale.fill(static_cast<int8_t>(fit.scale));
      for (int64_t i = 0; i < block; ++i) {
        const int min = !has_block_mins(type) ? 0
                        : zero != nullptr
                            ? static_cast<int>(zero[one ? 0 : (b * block + i) / e.group]) -
                                  static_cast<int>(e.code_min)
                            : fit.min;
        out.min[static_cast<size_t>(i / sub)] = static_cast<int8_t>(min);
        const int steps_of_it = n[b * block + i] * (fit.negated ? -1 : 1);
        out.q[static_cast<size_t>(i)] = static_cast<int8_t>((steps_of_it + min) / fit.scale);
      }
      io::pack_block(type, out, to + b * bytes);
    }
  });
  return packed;
}

/// Where levels repeat, or zero points have no place, codes do not follow from counts.
std::optional<model::GgufScheme> gguf_scheme_of(Dtype type,
                                                const BlockFit& fit,
                                                const quant::Encoded& e,
                                                const StepCounts& counts) {
  if (e.zeros.defined() && (!has_block_mins(type) || e.grid == quant::Grid::kLevels))
    return std::nullopt;
  model::GgufScheme scheme;
  scheme.grid = e;
  scheme.grid.codes = scheme.grid.scales = scheme.grid.zeros = Tensor();
  if (e.grid == quant::Grid::kLevels) {
    scheme.grid.levels = e.levels.contiguous();
    const auto* levels = scheme.grid.levels.const_data_ptr<float>();
    if (std::set<float>(levels, levels + e.levels.numel()).size() !=
        static_cast<size_t>(e.levels.numel()))
      return std::nullopt;
  }
  scheme.one_scale = counts.steps.numel() == 1;
  scheme.zeros = e.zeros.defined();
  scheme.halves = counts.halves;
  scheme.negated = fit.negated;
  return scheme;
}

std::string joined_whys(const std::vector<std::string>& whys) {
  std::string text;
  for (const std::string& why : whys)
    text += (text.empty() ? "" : "; ") + why;
  return text;
}

}  // namespace

GgufTensor codes_to_gguf(const std::string& name, const quant::Encoded& e, Dtype ternary) {
  StepCounts counts;
  std::string why = count_steps(e, counts);
  if (why.empty())
    why = not_half(counts.steps);
  std::vector<std::string> whys, fallbacks;
  std::vector<Dtype> types(std::begin(kUpwards), std::end(kUpwards));
  if (ternary != types.front())
    types.insert(types.begin(), ternary);
  for (const Dtype type : types) {
    if (!why.empty())
      break;
    const BlockFit fit = fit_type(type, e, counts);
    if (fit.why.empty())
      return {
          type, pack_blocks(type, fit, e, counts), gguf_scheme_of(type, fit, e, counts), fallbacks};
    whys.push_back(std::string(io::dtype_name(type)) + ": " + fit.why);
    if (fit.grid)
      fallbacks.push_back(whys.back());
  }
  if (!why.empty())
    fallbacks = whys = {"blocks: " + why};
  const Tensor values = quant::decode(e);
  for (const at::ScalarType dtype : {at::kHalf, at::kBFloat16}) {
    const Tensor rounded = values.to(dtype);
    if (same_bits(rounded.to(at::kFloat), values))
      return {file_dtype(dtype), rounded.contiguous(), std::nullopt, fallbacks};
  }
  throw recipes::UserError("tensor '" + name + "': no GGUF type holds its values exactly (" +
                           joined_whys(whys) +
                           "; F16, BF16: they need more digits); nothing is rounded on the way "
                           "out: export it as \"sterna\", or train another grid");
}

}  // namespace sterna::exporter
