#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "quant/encoded.h"
#include "trainer/io/tensor_file.h"
#include "trainer/model/hf_quantization.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {

using at::Tensor;

/// The tensors of one module of a mapped file: "weight_packed", "weight_scale", ...
class ModuleParts {
 public:
  ModuleParts(std::filesystem::path file, std::string module)
      : file_(std::move(file)), module_(std::move(module)) {}

  void add(const std::string& part, const io::TensorView& view) { parts_[part] = &view; }

  /// Null where absent.
  const io::TensorView* find(const std::string& part) const;

  /// @param shape  -1: any size
  /// @throws io::FileError  naming tensor, what was expected and what was found; here and below
  const io::TensorView& need(const std::string& part,
                             const std::vector<io::Dtype>& dtypes,
                             const std::vector<int64_t>& shape) const;

  [[noreturn]] void refuse(const std::string& part, const std::string& what) const;

  const std::string& module() const { return module_; }
  std::vector<const io::TensorView*> views() const;

 private:
  std::filesystem::path file_;
  std::string module_;
  std::map<std::string, const io::TensorView*> parts_;
};

/// A matrix in another program's packed layout, [N, K]; names, shapes and dtypes of its parts are
/// as they should be.
class PackedMatrix {
 public:
  explicit PackedMatrix(ModuleParts parts) : parts_(std::move(parts)) {}
  virtual ~PackedMatrix() = default;

  int64_t n() const { return n_; }
  int64_t k() const { return k_; }
  const ModuleParts& parts() const { return parts_; }

  /// All but the codes. Codes of symmetric grids are signed, of others unsigned (8 bits: less 128).
  /// @throws io::FileError
  virtual quant::Encoded tables() const = 0;

  /// Codes of the rows [first, first + count), int8 [count, K]. @throws io::FileError
  virtual Tensor rows(int64_t first, int64_t count) const = 0;

 protected:
  ModuleParts parts_;
  int64_t n_ = 0;
  int64_t k_ = 0;
};

/// "weight_packed" I32 [N, K b / 32] with "weight_scale", "weight_shape", "weight_zero_point".
std::unique_ptr<PackedMatrix> open_ct_matrix(const ModuleParts& parts,
                                             const HfQuantization& settings);

/// "qweight" I32 [K b / 32, N] with "qzeros", "scales", "g_idx".
std::unique_ptr<PackedMatrix> open_gptq_matrix(const ModuleParts& parts,
                                               const HfQuantization& settings);

/// "weight" U8 [N / 4, K] with "weight_scale".
std::unique_ptr<PackedMatrix> open_bitnet_matrix(const ModuleParts& parts,
                                                 const HfQuantization& settings);

/// The weights of a folder whose config.json names one of these layouts: its matrices, with
/// codes(), and everything else as in any folder.
std::unique_ptr<WeightSource> open_packed_hf_weights(const std::filesystem::path& folder,
                                                     const std::string& family);

// What the layouts have in common.

/// Smallest code of a layout's b bits.
int64_t smallest_code(int64_t bits, bool symmetric);

/// Unpacks rows of 32-bit words. @param words  int32 [R, W], W 32 >= k bits
Tensor unpack_words(const Tensor& words, int64_t k, int64_t bits, int64_t code_min);

}  // namespace sterna::model
