#pragma once

#include <variant>

#include "trainer/io/tensor_file.h"

namespace sterna::io {

/// One metadata value; integers of every width are int64 (u64 beyond int64 is refused), floats
/// are double.
using GgufValue = std::variant<bool,
                               int64_t,
                               double,
                               std::string,
                               std::vector<bool>,
                               std::vector<int64_t>,
                               std::vector<double>,
                               std::vector<std::string>>;

/// A GGUF v3 file (llama.cpp's format; v2 has the same layout). Names and order of the tensors are
/// the file's own; nothing is un-permuted here.
class Gguf : public TensorFile {
 public:
  virtual const std::map<std::string, GgufValue>& values() const = 0;

  bool has(const std::string& key) const { return values().count(key) != 0; }

  /// number() takes an integer too. @throws FileError  naming key, expected and found type
  int64_t integer(const std::string& key) const;
  double number(const std::string& key) const;
  bool boolean(const std::string& key) const;
  const std::string& text(const std::string& key) const;
  const std::vector<std::string>& texts(const std::string& key) const;
  const std::vector<int64_t>& integers(const std::string& key) const;
};

/// Every check of the format is made on opening. Tensor types that are not read (ggml_types.h) are
/// refused by tensor and type name. Q2_0 in blocks of 128, as some published ternary files have it,
/// is known by the tensors' sizes. @throws FileError
std::unique_ptr<Gguf> open_gguf(const std::filesystem::path& path);

/// True where the first four bytes say GGUF.
bool is_gguf(const std::filesystem::path& path);

}  // namespace sterna::io
