#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "quant/adapter_plan.h"
#include "trainer/model/load.h"

namespace sterna::model {

/// Gives every linear layer that the plan names its adapter; their matrices are parameters of the
/// decoder from then on, "<module>.lora_A.weight".
/// @throws recipes::UserError  for a pattern that matches nothing, and for an adapter that does not
///         fit a layer, naming it
void attach_adapters(Decoder& decoder, const quant::AdapterPlan& plan);

/// Values of all attached adapters before training, fp32 by parameter name.
std::map<std::string, Tensor> initial_adapters(Decoder& decoder, uint64_t seed);

/// Adds what the adapters in `weights` have learned to the weights that they correct and takes
/// their matrices out. What was merged has no codes any more: `weights.merged` names it.
/// @param shapes  a decoder with the same adapters attached; ends up holding their matrices
void merge_adapters(Decoder& shapes, Weights& weights);

}  // namespace sterna::model
