#include "trainer/model/plan_fits.h"

#include "recipes/user_error.h"
#include "trainer/model/quantizers.h"

namespace sterna::model {
namespace {

constexpr int64_t kFewRows = 8;

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

}  // namespace

Fit try_quantizer(quant::Quantizer& quantizer, const std::string& tensor, at::IntArrayRef shape) {
  const int64_t rows = shape[0];
  const int64_t columns = shape[1];
  try {
    return {quantizer.bits(), quantizer.group(columns), trial_bits(quantizer, rows, columns)};
  } catch (const recipes::UserError& error) {
    throw recipes::UserError(tensor + " [" + std::to_string(rows) + ", " + std::to_string(columns) +
                             "]: " + error.what());
  }
}

std::optional<Fit> try_fit(const quant::Plan& plan,
                           const std::string& tensor,
                           at::IntArrayRef shape,
                           quant::Place place) {
  const auto quantizer = plan.build(module_of(tensor), place);
  if (!quantizer)
    return std::nullopt;
  return try_quantizer(*quantizer, tensor, shape);
}

void require_plan_fits(const quant::Plan& plan, Decoder& shapes) {
  plan.require_matches(quantizable_modules(shapes));
  for (const Parameter& p : shapes.parameters()) {
    if (p.matrix && !p.adapter)
      try_fit(plan, p.name, p.shape, place_of(p));
  }
}

}  // namespace sterna::model
