#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "trainer/run/errand.h"
#include "trainer/run/shards.h"

namespace sterna::run {

/// Writes a run's checkpoints, one at a time, in two errands: every rank writes its shard into a
/// folder beside the others, then rank 0 writes the manifest, renames the folder and drops older
/// checkpoints. In between, and at the end, all ranks have to come by: the writing threads know
/// nothing of each other.
class Saver {
 public:
  /// @param run  the run's folder; the same on all ranks
  Saver(std::filesystem::path run, dist::World& world) : run_(std::move(run)), world_(world) {}

  /// What stays beside a new checkpoint.
  struct Keep {
    int64_t last = 1;  ///< newest ones
    std::string best;  ///< name of another; may be empty
  };

  /// Starts on `checkpoints/<stage>-<step>`; a folder of that name that lies there (a torn one) is
  /// going to be replaced. Nothing else may be under way. Collective.
  /// @param header  all of the manifest but files and tensors
  /// @param copy    take a copy of the tensors in host memory, so that they may change
  void begin(model::Manifest header, std::vector<Part> parts, const Keep& keep, bool copy);

  /// Name of the checkpoint that is being written; empty: none.
  std::string under_way() const;

  /// Carries on with what is under way, as far as all ranks have come; collective.
  /// @param wait  to the end
  /// @return      name of the checkpoint that has come to its end; empty: none
  /// @throws recipes::UserError  what failed on whatever rank, the disk for example, on all of
  ///                             them; of this checkpoint nothing is left then
  std::string carry_on(bool wait);

 private:
  struct Job;
  struct Drop {
    void operator()(Job* job) const;
  };
  void publish();

  std::filesystem::path run_;
  dist::World& world_;
  std::unique_ptr<Job, Drop> job_;
};

}  // namespace sterna::run
