#include "trainer/model/plan_fits.h"

#include "recipes/user_error.h"
#include "trainer/model/quantizers.h"

namespace sterna::model {
namespace {

constexpr int64_t kFewRows = 8;

}  // namespace

void require_plan_fits(const quant::Plan& plan, Decoder& shapes) {
  plan.require_matches(quantizable_modules(shapes));
  for (const Parameter& p : shapes.parameters()) {
    const auto quantizer = build_quantizer(plan, p);
    if (!quantizer)
      continue;
    try {
      const Tensor w = at::zeros({std::min(p.shape[0], kFewRows), p.shape[1]}, at::kFloat);
      quantizer->allocate(w);
      quantizer->encode(w);
    } catch (const recipes::UserError& error) {
      throw recipes::UserError(p.name + " [" + std::to_string(p.shape[0]) + ", " +
                               std::to_string(p.shape[1]) + "]: " + error.what());
    }
  }
}

}  // namespace sterna::model
