#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "trainer/model/run_checkpoint.h"

namespace sterna::model {

/// Rows of a tensor; of one without dimensions there is one.
int64_t rows_of(const CheckpointTensor& tensor);

/// The tensors that a run's checkpoint lists, read one at a time; for one thread.
class CheckpointTensors {
 public:
  CheckpointTensors(const std::filesystem::path& checkpoint, const Manifest& manifest);

  const std::filesystem::path& checkpoint() const { return checkpoint_; }

  /// Null where it has none.
  const CheckpointTensor* find(const std::string& kind, const std::string& name) const;

  std::vector<std::string> names(const std::string& kind) const;

  /// From now on read() gives a tensor's average where the checkpoint has one.
  void use_averages() { averages_ = true; }

  /// fp32, by its slices; of the files' mappings nothing is held in memory afterwards. Nothing is
  /// allocated before the files are known to hold all of it.
  /// @throws io::FileError  naming the file and the rows
  Tensor read(const CheckpointTensor& listed) const;

  /// The same of rows [begin, end) alone: only the files that hold some of them are opened.
  Tensor read(const CheckpointTensor& listed, int64_t begin, int64_t end) const;

 private:
  Tensor assemble(const CheckpointTensor& listed, int64_t begin, int64_t end) const;
  const io::TensorView& part(const CheckpointTensor& listed,
                             const CheckpointTensor::Slice& slice) const;

  std::filesystem::path checkpoint_;
  bool averages_ = false;
  std::map<std::pair<std::string, std::string>, CheckpointTensor> listed_;  // by kind and name
  mutable std::map<std::string, std::unique_ptr<io::TensorFile>> files_;    // opened when needed
};

}  // namespace sterna::model
