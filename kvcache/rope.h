#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

namespace sterna::kvcache {

using at::Tensor;

/// Rotary position embedding as Hugging Face configurations describe it.
struct RopeConfig {
  std::string type = "default";  ///< default, linear, dynamic, llama3, yarn, longrope
  double theta = 10000.0;
  int64_t head_dim = 0;
  double factor = 1.0;                 ///< linear, dynamic, llama3, yarn, longrope
  double low_freq_factor = 1.0;        ///< llama3
  double high_freq_factor = 4.0;       ///< llama3
  int64_t original_max_positions = 0;  ///< dynamic, llama3, yarn, longrope: before it was stretched
  double beta_fast = 32;               ///< yarn
  double beta_slow = 1;                ///< yarn
  bool truncate = true;                ///< yarn: the ramp starts and ends at whole dimensions
  double mscale = 0;                   ///< yarn, with mscale_all_dim; 0: not given
  double mscale_all_dim = 0;
  std::optional<double> attention_factor;  ///< yarn, longrope; absent: follows from the factor
  std::vector<double> short_factor;        ///< longrope [d/2]
  std::vector<double> long_factor;         ///< longrope [d/2]: beyond original_max_positions
  /// Divisors of the base frequencies [d/2], as GGUF's rope_freqs.weight gives them; else empty.
  std::vector<double> divisors;
};

/// Cosines and sines of some positions: made once for all layers of a forward pass.
struct RopeTable {
  Tensor cos;  ///< [T, d/2] or [B, T, d/2] in the dtype of the activations
  Tensor sin;
};

/// Rotates queries and keys in the half-split (NEOX) layout: x cos + rot(x) sin.
class Rope {
 public:
  explicit Rope(const RopeConfig& config);

  /// @param positions  int64 [T], or [B, T] where rows differ
  /// @param dtype      of the activations: computed in fp32, then rounded to it
  RopeTable table(const Tensor& positions, at::ScalarType dtype) const;

  /// fp32 [d/2] inverse frequencies for texts of `length` tokens; only dynamic and longrope ask
  /// how long.
  Tensor inverse_frequencies(int64_t length = 0) const;

  /// What cosines and sines are multiplied by; 1 but for yarn and longrope.
  double attention_factor() const { return attention_factor_; }

 private:
  bool depends_on_length() const;

  RopeConfig config_;
  Tensor inverse_frequencies_;  // of a short text
  Tensor long_frequencies_;     // longrope
  double attention_factor_ = 1.0;
};

/// @param x  [B, H, T, d], the dtype of the table; any strides with a contiguous last dimension
/// @return   the same shape, dtype and strides; differentiable in x, saves nothing but the table
Tensor rotate(const Tensor& x, const RopeTable& table);

/// rotate() without a gradient, into `out` of the same shape and dtype, any strides but for a
/// contiguous last dimension.
void rotate_into(const Tensor& x, const RopeTable& table, Tensor& out);

/// Rotates by the table of the positions asked for last: the layers of one forward pass share one.
class RopeMemo {
 public:
  /// @param rope  null: nothing is rotated
  explicit RopeMemo(std::shared_ptr<const Rope> rope);

  /// @param x  [B, H, T, d]
  Tensor rotated(const Tensor& x, const Tensor& positions);

  /// The same without a gradient, into `out`.
  void rotate_into(const Tensor& x, const Tensor& positions, Tensor& out);

 private:
  const RopeTable& table(const Tensor& positions, at::ScalarType dtype);

  std::shared_ptr<const Rope> rope_;
  Tensor positions_;  // kept alive, so that its identity is not given to another tensor
  RopeTable table_;
};

}  // namespace sterna::kvcache
