#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quant/encoded.h"
#include "trainer/io/tensor_file.h"
#include "trainer/model/gguf_codes.h"

namespace sterna::exporter {

/// A tensor as a GGUF file holds it.
struct GgufTensor {
  io::Dtype dtype = io::Dtype::kF32;
  at::Tensor stored;  ///< contiguous; blocks as uint8, or F16 or BF16 values
  /// How its codes come back; nothing where only its values do: F16 and BF16, and zero points in a
  /// type that has none.
  std::optional<model::GgufScheme> scheme;
  /// The smaller types that its grid would have, and why not: "TQ2_0: 576 inputs ...".
  std::vector<std::string> fallbacks;
};

/// Codes in the first type that holds every value of theirs exactly: `ternary`, then upwards by
/// size Q2_0, Q2_K, Q4_0, Q4_K, Q5_0, Q8_0, and last F16 or BF16. Nothing is rounded.
/// @param name     for the message
/// @param ternary  TQ2_0, TQ1_0 or Q2_0
/// @throws recipes::UserError  where there is none, with the reason for each type
GgufTensor codes_to_gguf(const std::string& name, const quant::Encoded& codes, io::Dtype ternary);

}  // namespace sterna::exporter
