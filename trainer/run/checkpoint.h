#pragma once

#include <filesystem>

#include "trainer/model/run_checkpoint.h"
#include "trainer/run/average.h"
#include "trainer/run/optimizer.h"
#include "trainer/run/ranges.h"
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

/// Writes `checkpoints/<stage>-<step>` of a run: into a folder beside it, every file fsynced, the
/// manifest last, then renamed. A folder of that name that lies there (a torn one) is replaced.
/// @param header  all of the manifest but files and tensors
/// @return        the checkpoint's folder
std::filesystem::path save_checkpoint(const std::filesystem::path& run,
                                      model::Manifest header,
                                      const Trainee& trainee);

/// Puts masters, quantizers' tensors and moments back in place, bit for bit; stands in for
/// Student::init_quantizers(). The average, which begins from these, is not touched.
/// @throws io::FileError  naming a tensor that is absent or of another shape
void restore_checkpoint(const std::filesystem::path& checkpoint,
                        const model::Manifest& manifest,
                        Student& student,
                        Optimizer& optimizer);

/// Removes all checkpoints but the newest `keep_last` and the one named `best` (may be empty), and
/// what a crash left under temporary names. What was set aside as torn stays.
void prune_checkpoints(const std::filesystem::path& run,
                       int64_t keep_last,
                       const std::string& best);

}  // namespace sterna::run
