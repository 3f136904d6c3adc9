#pragma once

#include "quant/plan.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// Tries a plan on a model's shapes, weights not needed: a few rows of zeros of every matrix that
/// it quantizes.
/// @throws recipes::UserError  for a rule that matches nothing, and for a scheme that cannot hold a
///         matrix, naming it
void require_plan_fits(const quant::Plan& plan, Decoder& shapes);

}  // namespace sterna::model
