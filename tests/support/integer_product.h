#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "quant/act_quantizer.h"
#include "quant/linear.h"

namespace sterna::tests {

using at::Tensor;

/// Weights over half their scale, fp64 [N, K]: integers but for tables of levels, where nothing is
/// given back.
inline std::optional<Tensor> half_steps(const quant::Encoded& e) {
  const int64_t n = e.codes.size(0), groups = e.codes.size(1) / e.group;
  quant::Encoded twos = e;
  twos.scales = at::full({n, groups}, 2.0f);
  if (e.scales_below.defined())
    twos.scales_below = twos.scales;
  if (e.zeros.defined())
    twos.zeros = e.zeros.expand({n, groups}).contiguous();
  const Tensor halves = quant::decode(twos).to(at::kDouble);
  return at::equal(halves, halves.round()) ? std::optional(halves) : std::nullopt;
}

/// The definition of a product of integers (contracts), by ATen in double: for each group in order,
/// the exact integer sum times (weight scale times activation scale). Weights are taken in half
/// steps, so that all of them are integers.
/// @param x  fp32 [M, K]
inline Tensor integer_product(const quant::Encoded& e,
                              const Tensor& x,
                              const std::vector<kernels::ActGrid>& grids) {
  const int64_t n = e.codes.size(0), groups = e.codes.size(1) / e.group;
  const Tensor halves = half_steps(e).value();
  const Tensor scales = (e.scales * 0.5f).expand({n, groups});
  Tensor y = at::zeros({x.size(0), n});
  for (int64_t t = 0; t < x.size(0); ++t) {
    const kernels::ActGrid& grid = grids[static_cast<size_t>(t)];
    const Tensor codes = (x[t] * grid.inverse).round().clamp(grid.lo, grid.hi).to(at::kDouble);
    for (int64_t g = 0; g < groups; ++g) {
      const Tensor sums =
          at::mv(halves.narrow(1, g * e.group, e.group), codes.narrow(0, g * e.group, e.group));
      y[t].add_(sums.to(at::kFloat) * (scales.select(1, g) * grid.step));
    }
  }
  return y;
}

/// A layer's product by that definition.
class IntegerSimulation final : public quant::Adapter {
 public:
  explicit IntegerSimulation(quant::Encoded encoded) : encoded_(std::move(encoded)) {}

  void attach(const std::string&, int64_t, int64_t) override {}
  std::vector<quant::AdapterMatrix> matrices() override { return {}; }
  std::vector<Tensor> initial(uint64_t) const override { return {}; }
  Tensor delta() const override { return quant::decode(encoded_); }
  Tensor forward(const Tensor&) const override { TORCH_CHECK(false, "inputs are not rounded"); }
  Tensor forward_rounded(const Tensor& x,
                         const std::shared_ptr<quant::ActQuantizer>& act) const override {
    const Tensor rows = x.reshape({-1, x.size(-1)}).contiguous();
    auto shape = x.sizes().vec();
    shape.back() = encoded_.codes.size(0);
    return integer_product(
               encoded_, rows, act->grids(rows.const_data_ptr<float>(), rows.size(0), rows.size(1)))
        .view(shape);
  }

 private:
  quant::Encoded encoded_;
};

inline void simulate_integers(quant::Linear& linear, const quant::Encoded& encoded) {
  linear.weight = at::empty({0, encoded.codes.size(1)});
  linear.adapter = std::make_shared<IntegerSimulation>(encoded);
}

}  // namespace sterna::tests
