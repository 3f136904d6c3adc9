#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "quant/adapter_plan.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// Gives every linear layer that the plan names its adapter; their matrices are parameters of the
/// decoder from then on, "<module>.lora_A.weight".
/// @throws recipes::UserError  for a pattern that matches nothing, and for an adapter that does not
///         fit a layer, naming it
void attach_adapters(Decoder& decoder, const quant::AdapterPlan& plan);

/// Values of all attached adapters before training, fp32 by parameter name.
std::map<std::string, Tensor> initial_adapters(Decoder& decoder, uint64_t seed);

/// What the adapter of a linear layer adds to its weight, fp32 [N, K].
/// @param value  of one of its matrices, by the parameter's name
Tensor learned_delta(quant::Linear& linear, const std::function<Tensor(const std::string&)>& value);

}  // namespace sterna::model
