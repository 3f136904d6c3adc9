#include "trainer/model/config.h"

#include <algorithm>
#include <cmath>

#include "recipes/user_error.h"
#include "trainer/model/check_config.h"

namespace sterna::model {
namespace {

// Weights of the matrices of one block.
int64_t matrix_weights(const DecoderConfig& c) {
  const int64_t attention = c.width * c.head_dim * (2 * c.heads + 2 * c.kv_heads);
  return attention + (c.gated ? 3 : 2) * c.width * c.inner;
}

int64_t projection_weights(const DecoderConfig& c) {
  return c.projects_words() ? 2 * c.width * c.embedding_width() : 0;
}

/// Sizes and their products stay far from where integers overflow.
constexpr int64_t kMostSize = (int64_t{1} << 31) - 1;
constexpr int64_t kMostHeadWidth = int64_t{1} << 16;  // RoPE makes a table of it
constexpr double kMostParameters = 1e15;

/// An upper bound of parameters(), which would overflow where this is too much.
double roughly(const DecoderConfig& c) {
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  const double attention =
      2 * real(c.width) * real(c.head_dim) * (real(c.heads) + real(c.kv_heads));
  const double block = attention + 3 * real(c.width) * real(c.inner);
  return 2 * (real(c.vocab) + real(c.width)) * real(std::max(c.width, c.embedding_width())) +
         real(c.max_positions) * real(c.width) + real(c.layers) * block;
}

}  // namespace

int64_t DecoderConfig::parameters() const {
  const int64_t norm_size = (norm == NormKind::kLayer ? 2 : 1) * width;
  int64_t block = matrix_weights(*this) + 2 * norm_size;
  if (head_norms)
    block += 2 * head_dim;
  if (qkv_bias)
    block += head_dim * (heads + 2 * kv_heads);
  if (o_bias)
    block += width;
  if (mlp_bias)
    block += (gated ? 2 : 1) * inner + width;
  const int64_t table = learned_positions ? (max_positions + position_offset) * width : 0;
  return vocab * embedding_width() * (tied ? 1 : 2) + projection_weights(*this) + table +
         layers * block + (final_norm ? norm_size : 0);
}

int64_t DecoderConfig::multiplies_per_token() const {
  return layers * matrix_weights(*this) + projection_weights(*this) + vocab * embedding_width();
}

void check_config(const DecoderConfig& c, const std::filesystem::path& file) {
  const auto refuse = [&](const std::string& what) {
    throw recipes::UserError(file.string() + ": " + what);
  };
  const std::pair<const char*, int64_t> sizes[] = {{"vocabulary", c.vocab},
                                                   {"width", c.width},
                                                   {"width of words", c.embedding_width()},
                                                   {"feed-forward width", c.inner},
                                                   {"number of layers", c.layers},
                                                   {"number of heads", c.heads},
                                                   {"number of key/value heads", c.kv_heads},
                                                   {"head width", c.head_dim},
                                                   {"number of positions", c.max_positions}};
  for (const auto& [name, value] : sizes) {
    if (value <= 0 || value > kMostSize)
      refuse(std::string("the ") + name + " is " + std::to_string(value) +
             ", expected a positive number below 2^31");
  }
  if (c.layers > kMostLayers)
    refuse("the number of layers is " + std::to_string(c.layers) + ", at most " +
           std::to_string(kMostLayers) + " are supported");
  if (c.head_dim > kMostHeadWidth)
    refuse("the head width is " + std::to_string(c.head_dim) + ", at most " +
           std::to_string(kMostHeadWidth) + " is supported");
  if (roughly(c) > kMostParameters)
    refuse("its sizes multiply to more than 10^15 parameters; is one of them wrong?");
  if (c.heads % c.kv_heads != 0)
    refuse(std::to_string(c.heads) + " heads are no multiple of " + std::to_string(c.kv_heads) +
           " key/value heads");
  if (c.head_dim % 2 != 0 && !c.learned_positions)
    refuse("the head width " + std::to_string(c.head_dim) + " is odd: it cannot be rotated");
  if (!(c.norm_eps > 0 && c.norm_eps < 1))
    refuse("the epsilon of the norms must lie in (0, 1)");
  if (!(c.rope.theta > 0 && c.rope.factor > 0 && std::isfinite(c.rope.theta) &&
        std::isfinite(c.rope.factor)))
    refuse("the base and the factor of RoPE must be positive and finite");
  for (const int64_t window : c.windows) {
    if (window < 0)
      refuse("a sliding window of " + std::to_string(window) + " tokens");
  }
}

}  // namespace sterna::model
