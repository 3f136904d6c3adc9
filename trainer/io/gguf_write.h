#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "trainer/io/tensor_file.h"

namespace sterna::io {

class AtomicFile;

/// Writes a GGUF v3 file from metadata and tensors that come one after the other and need not stay:
/// their bytes wait in a file beside it, which takes the same room once more.
class GgufStream {
 public:
  explicit GgufStream(const std::filesystem::path& path);
  ~GgufStream();
  GgufStream(const GgufStream&) = delete;
  GgufStream& operator=(const GgufStream&) = delete;

  /// Metadata, in the order of the file. @throws FileError  here and below, for what a reader of
  /// the format refuses: a key or tensor that comes twice, a name too long, a wrong size
  void u32(const std::string& key, uint32_t value);
  void f32(const std::string& key, float value);
  void boolean(const std::string& key, bool value);
  void text(const std::string& key, const std::string& value);
  void texts(const std::string& key, const std::vector<std::string>& values);
  void i32s(const std::string& key, const std::vector<int32_t>& values);
  void f32s(const std::string& key, const std::vector<float>& values);

  /// @param shape  in torch order, slowest dimension first
  void add(const std::string& name,
           Dtype dtype,
           const std::vector<int64_t>& shape,
           std::span<const std::byte> bytes);

  /// Gives the file its name; nothing can be added afterwards.
  void finish();

 private:
  void pair(const std::string& key, uint32_t type, const std::string& value);

  std::filesystem::path path_;
  std::filesystem::path beside_;
  std::unique_ptr<AtomicFile> waiting_;
  std::set<std::string> keys_;
  std::set<std::string> names_;
  std::string pairs_;
  std::string infos_;
  uint64_t bytes_ = 0;  ///< that wait, padding included
};

}  // namespace sterna::io
