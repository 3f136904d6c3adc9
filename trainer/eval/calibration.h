#pragma once

#include <cstdint>
#include <filesystem>

#include <ATen/ATen.h>

#include "trainer/model/load.h"

namespace sterna::eval {

/// The part of a text that a model is measured on.
struct Calibration {
  std::filesystem::path text;
  int64_t samples = 0;          ///< fewer where the text is shorter
  int64_t seq_len = 0;          ///< T
  const char* length_key = "";  ///< which key says seq_len, for messages
};

/// The text's first ids, int64 [S, T], S >= 1.
/// @throws recipes::UserError  a text that is not there or too short, sequences that the model
///         has no positions for, a tokenizer that its embedding is too small for
at::Tensor read_calibration(const Calibration& wanted, const model::CheckpointInfo& info);

}  // namespace sterna::eval
