#pragma once

#include "quant/plan.h"
#include "trainer/model/load.h"

namespace sterna::model {

/// load_decoder() with the matrices of the blocks that `plan` names rounded by it, one after the
/// other, and kept packed (quant/packed.h): a model that only answers.
Decoder load_packed_decoder(const CheckpointInfo& info,
                            at::ScalarType compute_dtype,
                            const quant::Plan& plan);

/// What a decoder's weights take up in memory, packed ones included.
int64_t weight_bytes(Decoder& decoder);

/// The matrix that a checkpoint's head multiplies with, and nothing else of it.
Tensor load_head(const CheckpointInfo& info, at::ScalarType dtype);

}  // namespace sterna::model
