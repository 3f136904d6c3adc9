#pragma once

#include <optional>

#include "quant/plan.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// What a plan makes of one matrix.
struct Fit {
  int64_t bits = 0;            ///< of one code
  int64_t group = 0;           ///< inputs per scale; 0: one scale for the whole matrix
  double bits_per_weight = 0;  ///< scales and zero points included
};

/// Tries a quantizer on a few rows of a matrix of that shape; weights are not needed.
/// @param shape  [N, K]
/// @throws recipes::UserError  where the scheme cannot hold the matrix, with its name and shape
Fit try_quantizer(quant::Quantizer& quantizer, const std::string& tensor, at::IntArrayRef shape);

/// Tries the plan's quantizer of a matrix as try_quantizer() does. Nothing where the matrix stays
/// in full precision.
std::optional<Fit> try_fit(const quant::Plan& plan,
                           const std::string& tensor,
                           at::IntArrayRef shape,
                           quant::Place place);

/// Tries a plan on every matrix of a model.
/// @throws recipes::UserError  for a rule that matches nothing, and as try_fit()
void require_plan_fits(const quant::Plan& plan, Decoder& shapes);

}  // namespace sterna::model
