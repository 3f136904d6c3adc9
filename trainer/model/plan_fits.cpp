#include "trainer/model/plan_fits.h"

#include "recipes/user_error.h"
#include "trainer/model/quantizers.h"

namespace sterna::model {
namespace {

constexpr int64_t kFewRows = 8;

}  // namespace

double trial_bits(quant::Quantizer& quantizer, int64_t rows, int64_t columns) {
  const int64_t tried = std::min(rows, kFewRows);
  // Not zeros: a float zero point that happens to be whole would count as a code.
  const Tensor w = at::arange(tried * columns, at::kFloat).sin_().view({tried, columns});
  quantizer.allocate(w);
  const quant::Encoded encoded = quantizer.encode(w);
  const double bits = quant::bits_per_weight(encoded);
  if (quantizer.group(columns) != 0)
    return bits;
  // One scale serves all rows, not only the tried ones.
  const auto code = static_cast<double>(encoded.bits);
  return code + (bits - code) * static_cast<double>(tried) / static_cast<double>(rows);
}

void require_plan_fits(const quant::Plan& plan, Decoder& shapes) {
  plan.require_matches(quantizable_modules(shapes));
  for (const Parameter& p : shapes.parameters()) {
    const auto quantizer = build_quantizer(plan, p);
    if (!quantizer)
      continue;
    try {
      trial_bits(*quantizer, p.shape[0], p.shape[1]);
    } catch (const recipes::UserError& error) {
      throw recipes::UserError(p.name + " [" + std::to_string(p.shape[0]) + ", " +
                               std::to_string(p.shape[1]) + "]: " + error.what());
    }
  }
}

}  // namespace sterna::model
