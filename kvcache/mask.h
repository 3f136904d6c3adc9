#pragma once

#include <map>

#include <ATen/ATen.h>

namespace sterna::kvcache {

using at::Tensor;

/// Which keys a query may see.
struct Sight {
  int64_t tokens = 0;  ///< T queries, the last of `slots`
  int64_t slots = 0;   ///< S keys
  int64_t window = 0;  ///< 0: none
  Tensor documents;    ///< int64 [B, T], S = T; undefined: one document a row
};

/// bool [1 or B, 1, T, S], true where a query sees a key: never a later one, nor one of another
/// document, nor one `window` or more before it. Every query sees its own key.
Tensor visible(const Sight& sight, at::Device device);

/// The same as what is added to scores, 0 or -inf, in the dtype and on the device of `like`.
Tensor additive_mask(const Sight& sight, const Tensor& like);

/// True where plain causal attention shows the same.
bool only_causal(const Sight& sight);

/// Positions that start at 0 in every document of a packed row, as if each stood alone.
/// @param documents  int64 [B, T]: an id per token, equal within a document; the tokens of one
///                   stand together
/// @return           int64 [B, T]
Tensor positions_in(const Tensor& documents);

/// Masks of one forward pass, each made once for all layers that share it.
class Masks {
 public:
  explicit Masks(Tensor documents) : documents_(std::move(documents)) {}

  /// What is added to scores: 0 or -inf, [1 or B, 1, T, T] in the dtype of `q`; undefined where
  /// plain causal attention does.
  /// @param q  [B, H, T, d]
  const Tensor& additive(const Tensor& q, int64_t window);

  /// bool, for attention that is computed step by step.
  Tensor visible(const Tensor& q, int64_t window) const;

 private:
  Sight sight(const Tensor& q, int64_t window) const;

  Tensor documents_;
  std::map<int64_t, Tensor> by_window_;
};

}  // namespace sterna::kvcache
