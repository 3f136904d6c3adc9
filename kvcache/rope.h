#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

namespace sterna::kvcache {

using at::Tensor;

/// Rotary position embedding as Hugging Face configurations describe it.
struct RopeConfig {
  std::string type = "default";  ///< default, linear, llama3
  double theta = 10000.0;
  int64_t head_dim = 0;
  double factor = 1.0;            ///< linear, llama3
  double low_freq_factor = 1.0;   ///< llama3
  double high_freq_factor = 4.0;  ///< llama3
  int64_t original_max_positions = 0;
  /// Divisors of the base frequencies [d/2], as GGUF's rope_freqs.weight gives them; else empty.
  std::vector<double> divisors;
};

/// Cosines and sines of some positions: made once for all layers of a forward pass.
struct RopeTable {
  Tensor cos;  ///< [T, d/2] in the dtype of the activations
  Tensor sin;
};

/// Rotates queries and keys in the half-split (NEOX) layout: x cos + rot(x) sin.
class Rope {
 public:
  explicit Rope(const RopeConfig& config);

  /// @param positions  int64 [T]
  /// @param dtype      of the activations: computed in fp32, then rounded to it
  RopeTable table(const Tensor& positions, at::ScalarType dtype) const;

  /// fp32 [d/2] inverse frequencies.
  const Tensor& inverse_frequencies() const { return inverse_frequencies_; }

 private:
  Tensor inverse_frequencies_;
};

/// @param x  [B, H, T, d], the dtype of the table; any strides with a contiguous last dimension
/// @return   the same shape, dtype and strides; differentiable in x, saves nothing but the table
Tensor rotate(const Tensor& x, const RopeTable& table);

/// The table of the positions asked for last: the layers of one forward pass share one.
class RopeMemo {
 public:
  explicit RopeMemo(std::shared_ptr<const Rope> rope);
  const RopeTable& table(const Tensor& positions, at::ScalarType dtype);

 private:
  std::shared_ptr<const Rope> rope_;
  Tensor positions_;  // kept alive, so that its identity is not given to another tensor
  RopeTable table_;
};

}  // namespace sterna::kvcache
