#pragma once

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
  double factor = 1.0;
  double low_freq_factor = 1.0;   ///< llama3
  double high_freq_factor = 4.0;  ///< llama3
  int64_t original_max_positions = 0;
  /// Divisors of the base frequencies [d/2], as GGUF's rope_freqs.weight gives them; else empty.
  std::vector<double> divisors;
};

/// Rotates queries and keys in the half-split (NEOX) layout: x cos + rot(x) sin.
class Rope {
 public:
  explicit Rope(const RopeConfig& config);

  /// @param x          [B, H, T, d]
  /// @param positions  int64 [T]
  /// @return           the same shape and dtype; differentiable in x
  Tensor rotate(const Tensor& x, const Tensor& positions) const;

  /// fp32 [d/2] inverse frequencies.
  const Tensor& inverse_frequencies() const { return inverse_frequencies_; }

 private:
  Tensor inverse_frequencies_;
};

}  // namespace sterna::kvcache
