#include "trainer/model/config.h"

#include "recipes/user_error.h"
#include "trainer/model/check_config.h"

namespace sterna::model {
namespace {

// Weights of the matrices of one block.
int64_t matrix_weights(const DecoderConfig& c) {
  const int64_t attention = c.width * c.head_dim * (2 * c.heads + 2 * c.kv_heads);
  return attention + 3 * c.width * c.inner;
}

}  // namespace

int64_t DecoderConfig::parameters() const {
  int64_t block = matrix_weights(*this) + 2 * width;
  if (attention_bias)
    block += head_dim * (heads + 2 * kv_heads) + width;
  if (mlp_bias)
    block += 2 * inner + width;
  return vocab * width * (tied ? 1 : 2) + layers * block + width;
}

int64_t DecoderConfig::multiplies_per_token() const {
  return layers * matrix_weights(*this) + vocab * width;
}

void check_config(const DecoderConfig& c, const std::filesystem::path& file) {
  const auto refuse = [&](const std::string& what) {
    throw recipes::UserError(file.string() + ": " + what);
  };
  const std::pair<const char*, int64_t> sizes[] = {{"vocabulary", c.vocab},
                                                   {"width", c.width},
                                                   {"feed-forward width", c.inner},
                                                   {"number of layers", c.layers},
                                                   {"number of heads", c.heads},
                                                   {"number of key/value heads", c.kv_heads},
                                                   {"head width", c.head_dim},
                                                   {"number of positions", c.max_positions}};
  for (const auto& [name, value] : sizes) {
    if (value <= 0 || value > (int64_t{1} << 31))
      refuse(std::string("the ") + name + " is " + std::to_string(value) +
             ", expected a positive number below 2^31");
  }
  if (c.heads % c.kv_heads != 0)
    refuse(std::to_string(c.heads) + " heads are no multiple of " + std::to_string(c.kv_heads) +
           " key/value heads");
  if (c.head_dim % 2 != 0)
    refuse("the head width " + std::to_string(c.head_dim) + " is odd: it cannot be rotated");
  if (!(c.norm_eps > 0 && c.norm_eps < 1))
    refuse("the epsilon of the norms must lie in (0, 1)");
  if (!(c.rope.theta > 0 && c.rope.factor > 0))
    refuse("the base and the factor of RoPE must be positive");
}

}  // namespace sterna::model
