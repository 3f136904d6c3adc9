#pragma once

#include <memory>
#include <set>
#include <string>

#include "trainer/model/load.h"

namespace sterna::model {

/// How a model that only answers holds matrices that its checkpoint has integers of: codes of ours,
/// or Q8_0.
enum class WeightForm {
  kDequantized,  ///< decoded into the compute dtype
  kPacked,       ///< as integers, multiplied as they lie (quant/panels.h)
  kStreamed,     ///< likewise, but those of a block are read from the file whenever it computes,
                 ///< and forgotten behind it
};

/// What became of them, by name. Of a streamed model complete after the first forward pass.
struct PackingReport {
  std::set<std::string> packed;
  std::set<std::string> decoded;  ///< no kernel multiplies such codes
};

/// A model that answers and is not trained.
struct AnsweringModel {
  Decoder decoder;
  std::shared_ptr<const PackingReport> report;
};

/// load_decoder() with matrices in the form asked for. With fp32 activations the packed model gives
/// what the decoded one gives, but for the rounding of fp32 sums; where it rounds inputs to 8-bit
/// integers around zero their products are exact (contracts).
AnsweringModel load_answering(const CheckpointInfo& info,
                              at::ScalarType compute_dtype,
                              WeightForm form);

}  // namespace sterna::model
