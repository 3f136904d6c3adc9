#pragma once

#include <optional>
#include <string>
#include <vector>

#include "quant/plan.h"
#include "trainer/model/config.h"

namespace sterna::exporter {

/// What is known of an export before anything is trained.
struct Prospect {
  /// A weight of a linear layer of the blocks, of the head or the embedding, [N, K].
  struct Matrix {
    std::string tensor;  ///< Hugging Face name
    int64_t n = 0;
    int64_t k = 0;
    bool bias = false;  ///< beside it
    /// Of a few rows of such a matrix: its numbers do not matter. Nothing: in full precision.
    std::optional<quant::Encoded> scheme;
  };

  model::DecoderConfig config;
  std::vector<Matrix> matrices;
  std::string activations;  ///< the resolved `[act]`; empty where nothing is rounded
  bool merged = false;      ///< adapters are going to be merged into weights
};

/// What `plan` makes of a model.
/// @param activations  as Prospect has it
Prospect prospect_of(const model::DecoderConfig& config,
                     const quant::Plan& plan,
                     std::string activations);

}  // namespace sterna::exporter
