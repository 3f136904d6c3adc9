#pragma once

#include "quant/plan.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// Stored bits of a weight under `quantizer` in a matrix of that shape, found by encoding a few
/// rows of zeros. @throws recipes::UserError  where the scheme cannot hold the matrix
double trial_bits(quant::Quantizer& quantizer, int64_t rows, int64_t columns);

/// Tries a plan on a model's shapes, weights not needed: trial_bits() of every matrix that it
/// quantizes.
/// @throws recipes::UserError  for a rule that matches nothing, and for a scheme that cannot hold a
///         matrix, naming it
void require_plan_fits(const quant::Plan& plan, Decoder& shapes);

}  // namespace sterna::model
