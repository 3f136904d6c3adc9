#include "quant/gptq.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Parallel.h>

#include "recipes/user_error.h"

namespace sterna::quant {
namespace {

constexpr int64_t kRowsOfSolve = 4;

/// Nearest code and value on the grid of one weight.
class Grids {
 public:
  Grids(const Encoded& e, int64_t max_levels)
      : e_(e),
        lo_(static_cast<double>(e.code_min)),
        hi_(lo_ + static_cast<double>(max_levels - 1)),
        per_row_(e.scales.numel() == 1 ? 0 : e.codes.size(1) / e.group),
        scales_(e.scales.const_data_ptr<float>()),
        below_(e.scales_below.defined() ? e.scales_below.const_data_ptr<float>() : scales_),
        zeros_(e.zeros.defined() ? e.zeros.const_data_ptr<float>() : nullptr),
        levels_(e.levels.defined() ? e.levels.const_data_ptr<float>() : nullptr) {}

  struct Point {
    int8_t code = 0;
    double value = 0;
  };

  Point nearest(int64_t row, int64_t column, double w) const {
    const int64_t at = per_row_ == 0 ? 0 : row * per_row_ + column / e_.group;
    return e_.grid == Grid::kAffine ? affine(at, w) : level(at, w);
  }

 private:
  Point affine(int64_t at, double w) const {
    const double zero = zeros_ != nullptr ? zeros_[at] : e_.offset;
    const double code = std::clamp(std::rint(w / scales_[at] + zero), lo_, hi_);
    return {static_cast<int8_t>(code), (code - zero) * scales_[at]};
  }

  Point level(int64_t at, double w) const {
    const int64_t length = e_.levels.size(-1);
    const float* table =
        levels_ + (zeros_ != nullptr ? static_cast<int64_t>(zeros_[at]) * length : 0);
    Point best;
    double least = HUGE_VAL;
    for (int64_t i = 0; i < length; ++i) {
      const double value = static_cast<double>(table[i]) * (table[i] < 0 ? below_ : scales_)[at];
      if (std::abs(value - w) >= least)
        continue;
      least = std::abs(value - w);
      best = {static_cast<int8_t>(i + e_.code_min), value};
    }
    return best;
  }

  const Encoded& e_;
  double lo_;
  double hi_;
  int64_t per_row_;
  const float* scales_;
  const float* below_;
  const float* zeros_;
  const float* levels_;
};

/// Upper Cholesky factor of the inverse of the damped Hessian, fp64 [K, K], in that order. Its row
/// j, divided by its diagonal, says how the later inputs make up for the error of input j.
Tensor compensation(const Tensor& hessian, const Tensor& order, double damp) {
  Tensor h = hessian.to(at::kDouble).index_select(0, order).index_select(1, order);
  Tensor diagonal = h.diagonal();
  const double mean = diagonal.numel() > 0 ? diagonal.mean().item<double>() : 0;
  // An input that is always zero concerns nobody: it is rounded to nearest.
  diagonal.add_(mean > 0 ? damp * mean : 1.0);
  try {
    const Tensor inverse = at::cholesky_inverse(at::linalg_cholesky(h));
    return at::linalg_cholesky(inverse, /*upper=*/true).contiguous();
  } catch (const c10::LinAlgError&) {
    throw recipes::UserError(
        "GPTQ: the calibration text gives fewer directions than the layer has inputs; raise the "
        "damping (ptq.damp) or give more text (ptq.samples, ptq.seq_len)");
  }
}

/// One block of inputs, all rows: codes, and the errors [N, block] that the rest must make up for.
struct Block {
  int64_t begin;
  int64_t end;
};

void sweep(const Grids& grids,
           const Block& block,
           const Tensor& order,
           const Tensor& u,
           Tensor& w,
           Tensor& errors,
           Tensor& codes) {
  const int64_t n = w.size(0), k = w.size(1), width = errors.size(1);
  const auto* column = order.const_data_ptr<int64_t>();
  const auto* factor = u.const_data_ptr<double>();
  auto* weights = w.mutable_data_ptr<double>();
  auto* missed = errors.mutable_data_ptr<double>();
  auto* found = codes.mutable_data_ptr<int8_t>();
  at::parallel_for(0, n, kRowsOfSolve, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      double* x = weights + row * k;
      for (int64_t j = block.begin; j < block.end; ++j) {
        const Grids::Point point = grids.nearest(row, column[j], x[j]);
        found[row * k + column[j]] = point.code;
        const double error = (x[j] - point.value) / factor[j * k + j];
        missed[row * width + j - block.begin] = error;
        for (int64_t later = j + 1; later < block.end; ++later)
          x[later] -= error * factor[j * k + later];
      }
    }
  });
}

}  // namespace

Encoded gptq(const Tensor& w,
             const Encoded& grid,
             int64_t max_levels,
             const Tensor& hessian,
             const GptqOrder& how) {
  const int64_t k = w.size(1);
  TORCH_CHECK(grid.codes.sizes() == w.sizes() && hessian.sizes() == at::IntArrayRef({k, k}),
              "gptq: weight ",
              w.sizes(),
              ", grid of ",
              grid.codes.sizes(),
              ", hessian ",
              hessian.sizes());
  TORCH_CHECK(how.damp > 0 && how.block > 0, "gptq: damp and block must be positive");
  Encoded result = grid;
  result.codes = grid.codes.clone();
  if (w.numel() == 0)
    return result;
  const Tensor order =
      how.by_activation
          ? at::argsort(hessian.diagonal(), /*stable=*/true, /*dim=*/0, /*descending=*/true)
          : at::arange(k, at::kLong);
  const Tensor u = compensation(hessian, order, how.damp);
  Tensor rest = w.to(at::kDouble).index_select(1, order);
  const Grids grids(grid, max_levels);
  for (int64_t begin = 0; begin < k; begin += how.block) {
    const Block block{begin, std::min(begin + how.block, k)};
    Tensor errors = at::empty({w.size(0), block.end - begin}, at::kDouble);
    sweep(grids, block, order, u, rest, errors, result.codes);
    if (block.end < k) {
      Tensor later = rest.slice(1, block.end, k);
      later.addmm_(errors, u.slice(0, begin, block.end).slice(1, block.end, k), 1, -1);
    }
  }
  return result;
}

}  // namespace sterna::quant
