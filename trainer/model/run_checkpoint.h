#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "trainer/io/tensor_file.h"
#include "trainer/model/load.h"

namespace sterna::model {

/// A tensor as manifest v1 lists it.
struct CheckpointTensor {
  std::string name;  ///< parameter, or "<parameter>.quant.<name>" for what a quantizer learns
  std::string kind;  ///< master, moment1, moment2, quant, ema, buffer
  io::Dtype dtype = io::Dtype::kF32;
  std::vector<int64_t> shape;
  struct Slice {
    std::string file;
    int64_t begin = 0;  ///< first row
    int64_t end = 0;    ///< one past the last
  };
  std::vector<Slice> slices;  ///< in row order, each from the rank that wrote it
};

/// The file that a rank writes its tensors of one kind to: "master.safetensors", and of several
/// ranks "master-00002-of-00004.safetensors" (counted from 1, as Hugging Face's shards are).
std::string shard_file(const std::string& kind, int64_t rank, int64_t ranks);

/// Manifest v1 of a checkpoint folder: written last, so a folder without one is torn.
struct Manifest {
  int64_t format = 1;
  std::string stage;   ///< "blockwise" or "train"
  int64_t step = 0;    ///< complete steps (blocks, in the block-wise stage)
  std::string source;  ///< checkpoint that gave configuration and tokenizer
  std::string recipe;  ///< resolved recipe, TOML
  std::string code_version;
  std::map<std::string, std::string> hashes;  ///< "tokenizer", "data", "source", "teacher"
  std::map<std::string, double> state;        ///< counters and the best score so far
  std::map<std::string, std::string> files;   ///< file name -> SHA-256
  std::vector<CheckpointTensor> tensors;
};

/// @throws io::FileError  naming file and field
Manifest read_manifest(const std::filesystem::path& checkpoint);

void write_manifest(const std::filesystem::path& checkpoint, const Manifest& manifest);

/// Hashes every file.
/// @throws io::FileError  naming the first that is missing or differs, the rank that wrote it and
///                        what it holds
void verify_checkpoint(const std::filesystem::path& checkpoint, const Manifest& manifest);

/// Checkpoint folders of a run, oldest first (blocks before steps), complete or not.
std::vector<std::filesystem::path> checkpoints_of_run(const std::filesystem::path& run);

/// Newest checkpoint of a run folder whose hashes hold.
/// @param torn  receives one message per newer checkpoint that does not hold
/// @return      empty where there is none
std::filesystem::path newest_checkpoint(const std::filesystem::path& run,
                                        std::vector<std::string>& torn);

/// The step whose plan (quant::Plan::at) made the weights of this checkpoint.
int64_t step_of_plan(const Manifest& manifest);

/// In `state`: 1 where the tensors of kind "ema" are the run's result, not its masters.
constexpr const char* kUsesAverage = "uses_ema";

/// Every tensor of one kind, fp32 by name.
std::map<std::string, Tensor> read_kind(const std::filesystem::path& checkpoint,
                                        const Manifest& manifest,
                                        const std::string& kind);

}  // namespace sterna::model
