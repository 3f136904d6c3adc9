#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sterna::io {

/// CRC-32C (Castagnoli), as TFRecord uses it; before the mask.
uint32_t crc32c(std::string_view bytes);

/// Writes scalars as a TensorBoard event file: TFRecord frames around Event messages.
class TensorboardWriter {
 public:
  /// Opens `folder`/events.out.tfevents.<seconds>.<process>, creating the folder. A resumed run
  /// opens a further file, whose name sorts behind those before it: TensorBoard reads them in
  /// order.
  /// @throws FileError
  explicit TensorboardWriter(const std::filesystem::path& folder);

  /// Appends one event and hands it to the system, so that a killed run keeps it.
  /// @param wall_time  seconds since 1970
  void scalars(int64_t step,
               const std::vector<std::pair<std::string, double>>& values,
               double wall_time);

  /// Says that this file goes on at `step`: TensorBoard then forgets what earlier files of the
  /// folder hold from there on.
  void restart(int64_t step);

  const std::filesystem::path& path() const { return path_; }

 private:
  void record(const std::string& event);

  std::filesystem::path path_;
  std::ofstream out_;
};

}  // namespace sterna::io
