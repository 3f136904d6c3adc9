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

/// Element types that files name, in the order of the safetensors reference (which its writer
/// sorts by), then GGUF's blocks.
enum class Dtype {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
  kQ4_0,
  kQ4_1,
  kQ8_0,
  kQ5_0,
  kQ5_1,
  kQ2_K,
  kQ3_K,
  kQ4_K,
  kQ5_K,
  kQ6_K,
  kTQ1_0,
  kTQ2_0,
  kQ2_0,
  kQ2_0Of128,  ///< an older layout under the same type id
};

/// Safetensors spelling ("BF16"), or GGUF's ("Q4_1").
std::string_view dtype_name(Dtype dtype);

/// Elements of one block; 1 where values stand alone.
uint64_t block_elements(Dtype dtype);

/// Bytes of `elements` values. @throws FileError  where they are no whole number of bytes or
/// blocks, or do not fit 64 bits
uint64_t bytes_of(Dtype dtype, uint64_t elements);

/// Elements of `shape` (1 for a scalar). @throws FileError  on a negative dimension or overflow
uint64_t elements_of(std::span<const int64_t> shape);

/// A tensor inside a mapped file: nothing is copied until somebody reads `bytes`, which need not
/// be aligned to the element. Shapes are in torch order (slowest dimension first), for GGUF too.
struct TensorView {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;

  uint64_t elements() const { return elements_of(shape); }
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

  /// @throws FileError  naming the file and the nearest tensor name, if one is near
  const TensorView& at(std::string_view name) const;

  virtual const std::filesystem::path& path() const = 0;
};

/// Values as fp32, whatever the stored type: the de-quantised weight of Q4_1 and so on, bit for
/// bit as ggml defines it (q * d + m, two roundings). Elements are whole blocks.
/// @throws FileError  for a type that holds no numbers we convert (F8, F6, F4, C64)
void to_float(const TensorView& view, std::span<float> out);

}  // namespace sterna::io
