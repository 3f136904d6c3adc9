#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "quant/plan.h"
#include "trainer/model/checkpoint_tensors.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// Path of the module that a parameter belongs to, as rules name it: without ".weight".
std::string module_of(const std::string& parameter);

/// Where a plan sees this parameter.
quant::Place place_of(const Parameter& parameter);

/// A new quantizer for this parameter, or null where it stays in full precision.
std::unique_ptr<quant::Quantizer> build_quantizer(const quant::Plan& plan,
                                                  const Parameter& parameter);

/// Modules whose weights a plan may quantize, in the model's order.
std::vector<std::string> quantizable_modules(Decoder& decoder);

/// What a checkpoint calls a tensor of a parameter's quantizer: "<parameter>.quant.<name>".
std::string quantizer_tensor(const std::string& parameter, const std::string& name);

/// Names, in checkpoints, of what encode() came to when they were written.
constexpr const char* kScalesInUse = "scales_in_use";
constexpr const char* kScalesBelowInUse = "scales_below_in_use";
constexpr const char* kZerosInUse = "zeros_in_use";

/// What the quantizers of a run's checkpoint had learned, read as it is asked for.
class StoredQuantizers {
 public:
  /// @param tensors  of the checkpoint; outlive this
  explicit StoredQuantizers(const CheckpointTensors& tensors) : tensors_(tensors) {}

  /// Makes a new quantizer what it was when the checkpoint was written; nothing is searched.
  /// @param master     fp32 [N, K]; only its shape counts
  /// @param first_row  of the matrix, where `master` is some rows of it: what the quantizer holds
  ///                   for each row is read for these
  /// @throws io::FileError  naming a tensor that is absent or of another shape
  void restore(quant::Quantizer& quantizer,
               const std::string& parameter,
               const Tensor& master,
               int64_t first_row = 0) const;

  /// @throws io::FileError  where this program computes other scales than the one that trained
  void require_scales(const quant::Encoded& encoded, const std::string& parameter) const;

 private:
  const CheckpointTensor& need(const std::string& kind, const std::string& name) const;

  const CheckpointTensors& tensors_;
};

}  // namespace sterna::model
