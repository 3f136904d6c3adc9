#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "trainer/model/checkpoint_tensors.h"
#include "trainer/run/average.h"
#include "trainer/run/optimizer.h"
#include "trainer/run/ranges.h"
#include "trainer/run/shards.h"
#include "trainer/run/student.h"

namespace sterna::run {

/// What a checkpoint holds the tensors of.
struct Trainee {
  Student& student;
  Optimizer& optimizer;
  Average* average;          ///< null where none is kept
  Ranges* ranges = nullptr;  ///< likewise
};

/// In a manifest's state, before a tensor's name: updates of a tensor that had no part in some.
inline const std::string kAppliedTo = "applied:";

/// Every tensor of a checkpoint, as far as this rank holds it; shared with the trainee.
std::vector<Part> parts_of(const Trainee& trainee);

/// Puts masters, quantizers' tensors and moments back in place, bit for bit; stands in for
/// Student::init_quantizers(). Of each tensor the rows that this rank holds are read, whatever
/// ranks wrote it. The average, which begins from these, is not touched.
/// @throws io::FileError  naming a tensor that is absent or of another shape
void restore_checkpoint(const std::filesystem::path& checkpoint,
                        const model::Manifest& manifest,
                        Student& student,
                        Optimizer& optimizer);

/// Every tensor of one kind, fp32 by name, as far as this rank holds it.
std::map<std::string, Tensor> read_held(const model::CheckpointTensors& tensors,
                                        const std::string& kind,
                                        Student& student);

/// Removes all checkpoints but the newest `keep_last` and the one named `best` (may be empty), and
/// what a crash left under temporary names. What was set aside as torn stays.
void prune_checkpoints(const std::filesystem::path& run,
                       int64_t keep_last,
                       const std::string& best);

}  // namespace sterna::run
