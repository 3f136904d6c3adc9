#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "trainer/io/safetensors.h"

namespace sterna::io {

class AtomicFile;

/// Writes what write_safetensors() would, byte for byte, from tensors that come one after the other
/// and need not stay: they wait in a file beside it, which takes the same room once more.
class SafetensorsStream {
 public:
  explicit SafetensorsStream(const std::filesystem::path& path);
  ~SafetensorsStream();
  SafetensorsStream(const SafetensorsStream&) = delete;
  SafetensorsStream& operator=(const SafetensorsStream&) = delete;

  /// @throws FileError  here and below as write_safetensors()
  void add(const TensorToWrite& tensor);

  /// Of all that was added.
  uint64_t bytes() const { return bytes_; }

  /// Gives the file its name; nothing can be added afterwards.
  void finish(const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

 private:
  struct Waiting {
    TensorToWrite tensor;  ///< without its bytes
    uint64_t offset;
    uint64_t size;
  };

  std::filesystem::path path_;
  std::filesystem::path beside_;
  std::unique_ptr<AtomicFile> file_;
  std::vector<Waiting> tensors_;
  uint64_t bytes_ = 0;
};

}  // namespace sterna::io
