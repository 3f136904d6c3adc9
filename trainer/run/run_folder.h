#pragma once

#include <filesystem>
#include <string>

namespace sterna::run {

/// A run's folder, held by one process at a time: flock on `.lock`, gone with the process, whose
/// number stands in it. Rank 0 holds it for all ranks of a run.
class RunFolder {
 public:
  /// Creates what is missing and takes the lock, unless another rank has.
  /// @throws recipes::UserError  another process holds it (which), or it cannot be created
  explicit RunFolder(const std::filesystem::path& path, bool hold = true);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path log() const { return path_ / "log.jsonl"; }
  std::filesystem::path recipe() const { return path_ / "recipe.toml"; }
  std::filesystem::path eval(const std::string& name) const;

 private:
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace sterna::run
