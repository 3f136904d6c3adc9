#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "quant/plan.h"

namespace sterna::cli {

/// One weight matrix of a model, and what a recipe does to it.
struct PlannedMatrix {
  std::string tensor;  ///< "model.layers.0.mlp.up_proj.weight"
  int64_t rows = 0;
  int64_t columns = 0;
  quant::Place place = quant::Place::kBlock;

  std::string rule{};          ///< what decides, as Plan::rule_of says it
  std::string scheme{};        ///< registered name; "none" keeps full precision
  int64_t bits = 0;            ///< of one code
  int64_t group = 0;           ///< inputs per scale; 0: one scale for the whole matrix
  double bits_per_weight = 0;  ///< scales and zero points included
  std::string input{};         ///< how what it reads is rounded; empty where the recipe rounds none
};

/// Bits of a weight that stays in full precision, as exports store it (bf16).
inline constexpr double kFullPrecisionBits = 16;

/// Fills in what `plan` decides for each of `matrices`; every quantizer is built and tried once.
/// @throws recipes::UserError  for a rule that matches nothing, and for a scheme that cannot hold
///         a matrix of that shape, with the tensor's name
void fill_plan(const quant::Plan& plan, std::vector<PlannedMatrix>& matrices);

/// A line per matrix (with a column for its input where some matrix has one), then the average bits
/// of the quantized ones and of all.
void print_plan(const std::vector<PlannedMatrix>& matrices, std::ostream& out);

}  // namespace sterna::cli
