#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "recipes/user_error.h"

namespace sterna::io {

/// Element types that files name; the quantized ones are GGUF's blocks.
enum class Dtype {
  kBool, kU8, kI8, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kI64, kU64, kF64,
  kF8E4M3, kF8E5M2, kQ4_0, kQ4_1, kQ8_0,
};

/// Safetensors spelling ("BF16"), or GGUF's ("Q4_1").
std::string_view dtype_name(Dtype dtype);

/// Bytes of `elements` values; blocks of 32 for the quantized types.
uint64_t bytes_of(Dtype dtype, uint64_t elements);

/// A tensor inside a mapped file: nothing is copied until somebody reads `bytes`. Shapes are in
/// torch order (slowest dimension first), for GGUF as well.
struct TensorView {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  uint64_t elements() const;
};

/// A damaged or unsuitable file: which file, which check, at which byte, what to do.
class FileError : public recipes::UserError {
 public:
  using recipes::UserError::UserError;
};

/// Tensors of one file or of a sharded set, by name, memory-mapped. The views live as long as
/// this object.
class TensorFile {
 public:
  virtual ~TensorFile() = default;

  /// In the order of the file.
  virtual const std::vector<TensorView>& tensors() const = 0;

  /// String metadata ("format": "pt"); empty for GGUF, whose typed metadata is in gguf.h.
  virtual const std::map<std::string, std::string>& metadata() const = 0;

  /// Null where absent.
  const TensorView* find(std::string_view name) const;

  /// @throws FileError  naming the file and the nearest tensor name
  const TensorView& at(std::string_view name) const;

  virtual const std::filesystem::path& path() const = 0;
};

/// Values as fp32, whatever the stored type: the de-quantised weight of Q4_1 and so on.
void to_float(const TensorView& view, std::span<float> out);

}  // namespace sterna::io
