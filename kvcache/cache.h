#pragma once

#include <memory>
#include <vector>

#include <ATen/ATen.h>

#include "kvcache/rope.h"

namespace sterna::kvcache {

using at::Tensor;

/// How the layers of a model attend.
struct Attention {
  std::shared_ptr<const Rope> rope;  ///< null where nothing is rotated: learned positions
  /// One for each layer: query i sees key j where i - window < j <= i; 0: all keys up to its own.
  std::vector<int64_t> windows;

  int64_t layers() const { return static_cast<int64_t>(windows.size()); }
};

/// Attention of one layer with its past. The cache owns RoPE and storage, so stores that quantize,
/// drop or re-index keys fit behind the same call.
/// B sequences, H query heads, J key/value heads, T new tokens, S cached slots, d head width.
class Cache {
 public:
  virtual ~Cache() = default;

  /// @param q          [B, H, T, d] before RoPE
  /// @param k, v       [B, J, T, d] before RoPE; H is a multiple of J
  /// @param positions  int64 [T], or [B, T] where rows differ
  /// @return           context [B, H, T, d]
  virtual Tensor attend(int64_t layer,
                        const Tensor& q,
                        const Tensor& k,
                        const Tensor& v,
                        const Tensor& positions) = 0;

  /// Tokens seen so far; the next token's position.
  virtual int64_t length() const = 0;
};

/// No past and nothing kept: training, and evaluation of whole windows. Causal, fused.
/// @param documents  int64 [B, T]: tokens see only those of their own document (kvcache/mask.h);
///                   undefined where each row is one document
std::unique_ptr<Cache> make_stateless(std::shared_ptr<const Attention> attention,
                                      Tensor documents = {});

/// Keeps every key and value densely: generation's default.
std::unique_ptr<Cache> make_full(std::shared_ptr<const Attention> attention);

/// As make_stateless, but computes and keeps the probabilities of every layer: fp32 [B, H, T, T].
/// For verification and attention-map losses; chosen by who asks, never by a flag on the model.
class EagerAttention : public Cache {
 public:
  virtual const Tensor& probabilities(int64_t layer) const = 0;
};
std::unique_ptr<EagerAttention> make_eager(std::shared_ptr<const Attention> attention,
                                           Tensor documents = {});

}  // namespace sterna::kvcache
