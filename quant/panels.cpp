#include "quant/panels.h"

#include <algorithm>

#include <ATen/Parallel.h>

#include "kernels/matmul.h"
#include "quant/act_quantizer.h"

namespace sterna::quant {
namespace {

// Multiplications that a thread makes at least: below, calling another one takes longer.
constexpr int64_t kProductsPerTask = int64_t{1} << 18;
constexpr int64_t kTokensPerTask = 16;
constexpr int64_t kPanelsPerTask = 4;

using kernels::kPanelRows;

void require(kernels::Status status, const char* what) {
  TORCH_CHECK(status == kernels::Status::kOk, "packed: a kernel refused ", what);
}

/// What the kernels read of `e`, whose scales are fp32.
kernels::WeightCodes codes_of(const Encoded& e) {
  kernels::WeightCodes codes;
  codes.n = e.codes.size(0);
  codes.k = e.codes.size(1);
  codes.group = e.group;
  codes.bits = e.bits;
  codes.code_min = e.code_min;
  codes.codes = e.codes.const_data_ptr<int8_t>();
  codes.scales = e.scales.const_data_ptr<float>();
  codes.shared_scales = e.scales.numel() == 1;
  codes.zeros = e.zeros.defined() ? e.zeros.const_data_ptr<float>() : nullptr;
  codes.offset = static_cast<float>(e.offset);
  if (e.grid == Grid::kAffine)
    return codes;
  codes.levels = e.levels.const_data_ptr<float>();
  codes.level_count = e.levels.size(-1);
  codes.level_rows = e.levels.dim() == 2 ? e.levels.size(0) : 1;
  return codes;
}

/// Panels [begin, end) alone.
kernels::WeightCodes slice(const kernels::WeightCodes& all, int64_t begin, int64_t end) {
  const int64_t first = begin * kPanelRows;
  kernels::WeightCodes part = all;
  part.n = std::min(end * kPanelRows, all.n) - first;
  part.codes += first * all.k;
  if (!all.shared_scales) {
    part.scales += first * (all.k / all.group);
    part.zeros = all.zeros == nullptr ? nullptr : all.zeros + first * (all.k / all.group);
  }
  return part;
}

void pack_all(const kernels::WeightCodes& codes, const kernels::PackedMatrix& plan, uint8_t* to) {
  at::parallel_for(0, plan.panel_count(), kPanelsPerTask, [&](int64_t begin, int64_t end) {
    const kernels::WeightCodes part = slice(codes, begin, end);
    kernels::PackedMatrix own = plan;
    own.n = part.n;
    kernels::pack(part, own, to + begin * plan.panel_bytes());
  });
}

/// The tokens of x [..., K] as fp32, which is exact for bf16.
class Tokens {
 public:
  explicit Tokens(const Tensor& x)
      : held_(x.scalar_type() == at::kFloat && x.is_contiguous() ? x
                                                                 : x.to(at::kFloat).contiguous()),
        k_(x.size(-1)),
        m_(k_ == 0 ? 0 : x.numel() / k_) {}

  int64_t m() const { return m_; }
  int64_t k() const { return k_; }
  const float* data() const { return held_.const_data_ptr<float>(); }

 private:
  Tensor held_;
  int64_t k_;
  int64_t m_;
};

/// Calls `product` with ranges of outputs, in parallel, to write fp32 [M, N].
/// @return  that as [..., N] in the dtype of x [..., K]
template <class Product>
Tensor multiplied(const kernels::PackedMatrix& w,
                  const Tensor& x,
                  int64_t m,
                  const Product& product) {
  auto shape = x.sizes().vec();
  shape.back() = w.n;
  Tensor y = at::empty(shape, at::kFloat);
  auto* to = y.mutable_data_ptr<float>();
  const int64_t grain =
      std::max<int64_t>(kProductsPerTask / std::max<int64_t>(m * kPanelRows * w.k, 1), 1);
  at::parallel_for(0, m == 0 ? 0 : w.panel_count(), grain, [&](int64_t begin, int64_t end) {
    const kernels::OutputRange range{begin * kPanelRows, std::min(end * kPanelRows, w.n)};
    require(product(range, to), "the product");
  });
  return x.scalar_type() == at::kFloat ? y : y.to(x.scalar_type());
}

/// Tokens as integers, in memory of their own.
class Integers {
 public:
  Integers(const Tokens& x, const std::vector<kernels::ActGrid>& grids, int64_t group)
      : rows_{x.m(), x.k(), group} {
    const int64_t stride = kernels::activation_stride(x.k()), groups = x.k() / group;
    const auto m = static_cast<size_t>(x.m());
    codes_ = std::make_unique_for_overwrite<int8_t[]>(m * static_cast<size_t>(stride));
    scales_ = std::make_unique_for_overwrite<float[]>(m);
    sums_ = std::make_unique_for_overwrite<int32_t[]>(m * static_cast<size_t>(groups));
    at::parallel_for(0, x.m(), kTokensPerTask, [&](int64_t begin, int64_t end) {
      require(
          kernels::quantize_rows(
              {end - begin, x.k(), group},
              x.data() + begin * x.k(),
              {},
              grids.data() + begin,
              {codes_.get() + begin * stride, scales_.get() + begin, sums_.get() + begin * groups}),
          "activations");
    });
    rows_.codes = codes_.get();
    rows_.scales = scales_.get();
    rows_.sums = sums_.get();
  }

  const kernels::QuantizedRows& rows() const { return rows_; }

 private:
  kernels::QuantizedRows rows_;
  std::unique_ptr<int8_t[]> codes_;
  std::unique_ptr<float[]> scales_;
  std::unique_ptr<int32_t[]> sums_;
};

/// True where every token has a grid of integers that a byte holds.
bool are_bytes(const std::vector<kernels::ActGrid>& grids, int64_t tokens) {
  return std::ssize(grids) == tokens &&
         std::all_of(grids.begin(), grids.end(), [](const kernels::ActGrid& grid) {
           return grid.origin == 0 && grid.lo >= INT8_MIN && grid.hi <= INT8_MAX;
         });
}

}  // namespace

Panels::Panels(const kernels::PackedMatrix& plan, Tensor storage)
    : matrix_(plan), storage_(std::move(storage)) {
  matrix_.panels = storage_.const_data_ptr<uint8_t>();
}

std::shared_ptr<Panels> Panels::make(const Encoded& encoded) {
  if (encoded.scales_below.defined())
    return nullptr;
  Encoded e = encoded;
  e.codes = e.codes.contiguous();
  for (Tensor* each : {&e.scales, &e.zeros, &e.levels})
    if (each->defined())
      *each = each->to(at::kFloat).contiguous();
  const kernels::WeightCodes codes = codes_of(e);
  kernels::PackedMatrix plan;
  if (kernels::plan_packing(codes, &plan) != kernels::Status::kOk)
    return nullptr;
  Tensor storage = at::empty({plan.panel_count(), plan.panel_bytes()}, at::kByte);
  pack_all(codes, plan, storage.mutable_data_ptr<uint8_t>());
  return std::shared_ptr<Panels>(new Panels(plan, std::move(storage)));
}

Tensor Panels::decode(at::ScalarType dtype) const {
  Tensor values = at::empty({matrix_.n, matrix_.k}, at::kFloat);
  auto* to = values.mutable_data_ptr<float>();
  at::parallel_for(0, matrix_.n, kPanelRows, [&](int64_t begin, int64_t end) {
    require(kernels::unpack(matrix_, begin, end, to), "to unpack");
  });
  return values.to(dtype);
}

Tensor Panels::rows(const Tensor& ids, at::ScalarType dtype) const {
  const Tensor flat = ids.flatten().contiguous();
  const auto* id = flat.const_data_ptr<int64_t>();
  const Tensor values = at::empty({flat.numel(), matrix_.k}, at::kFloat);
  Tensor panel = at::empty({kPanelRows, matrix_.k}, at::kFloat);
  kernels::PackedMatrix one = matrix_;
  one.n = kPanelRows;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    TORCH_CHECK(id[i] >= 0 && id[i] < matrix_.n,
                "token ",
                id[i],
                " lies outside the vocabulary of ",
                matrix_.n);
    const int64_t row = id[i] % kPanelRows;
    one.panels = matrix_.panels + id[i] / kPanelRows * matrix_.panel_bytes();
    require(kernels::unpack(one, row, row + 1, panel.mutable_data_ptr<float>()), "to unpack");
    values[i].copy_(panel[row]);
  }
  auto shape = ids.sizes().vec();
  shape.push_back(matrix_.k);
  return values.view(shape).to(dtype);
}

void Panels::attach(const std::string& name, int64_t n, int64_t k) {
  TORCH_CHECK(
      n == matrix_.n && k == matrix_.k, name, ": packed as [", matrix_.n, ", ", matrix_.k, "]");
}

void Panels::check(const Tensor& x) const {
  TORCH_CHECK(x.dim() >= 1 && x.size(-1) == matrix_.k && x.is_cpu() && !x.requires_grad(),
              "packed: expected x [..., ",
              matrix_.k,
              "] on the CPU that asks for no gradient, got ",
              x.sizes());
}

Tensor Panels::forward(const Tensor& x) const {
  check(x);
  const Tokens tokens(x);
  return multiplied(matrix_, x, tokens.m(), [&](const kernels::OutputRange& range, float* y) {
    return kernels::matmul_a16(matrix_, tokens.m(), tokens.data(), range, y);
  });
}

Tensor Panels::forward_rounded(const Tensor& x, const std::shared_ptr<ActQuantizer>& act) const {
  check(x);
  if (!matrix_.whole())
    return forward(act->forward(x));
  const Tokens tokens(x);
  const auto grids = act->grids(tokens.data(), tokens.m(), tokens.k());
  if (!are_bytes(grids, tokens.m()))
    return forward(act->forward(x));
  const Integers integers(tokens, grids, matrix_.group);
  return multiplied(matrix_, x, tokens.m(), [&](const kernels::OutputRange& range, float* y) {
    return kernels::matmul_a8(matrix_, integers.rows(), range, y);
  });
}

}  // namespace sterna::quant
