#pragma once

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "trainer/model/decoder.h"
#include "trainer/model/names.h"

namespace sterna::tests {

using at::Tensor;
using model::DecoderConfig;

/// Small descriptions of every family, and of what differs within one.
inline std::vector<std::string> small_config_names() {
  return {"llama", "llama_tied", "mistral", "qwen2", "qwen3", "opt", "opt_behind", "gpt2"};
}

inline std::string name_of_case(const testing::TestParamInfo<std::string>& info) {
  return info.param;
}

inline void learn_positions(DecoderConfig& c) {
  c.norm = model::NormKind::kLayer;
  c.gated = false;
  c.learned_positions = true;
  c.heads = c.kv_heads = 4;
  c.head_dim = 5;
  c.tied = true;
}

inline DecoderConfig small_config(const std::string& name) {
  DecoderConfig c;
  c.family = name.substr(0, name.find('_'));
  c.vocab = 37;
  c.width = 20;
  c.inner = 28;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 6;
  c.max_positions = 64;
  c.norm_eps = 1e-5;
  c.rope.head_dim = 6;
  if (c.family == "llama" || c.family == "opt" || c.family == "gpt2")
    c.qkv_bias = c.o_bias = c.mlp_bias = true;
  if (c.family == "llama" || c.family == "qwen2")
    c.tied = name != "llama";
  if (c.family == "mistral")
    c.windows = {4, 4};
  if (c.family == "qwen2")
    c.qkv_bias = true;
  if (c.family == "qwen3") {
    c.head_norms = true;
    c.windows = {0, 3};
  }
  if (c.family == "opt" || c.family == "gpt2")
    learn_positions(c);
  if (c.family == "opt") {
    c.position_offset = 2;
    c.activation = model::Activation::kRelu;
  }
  if (c.family == "gpt2")
    c.activation = model::Activation::kGeluTanh;
  if (name == "opt_behind") {
    c.norm_first = c.final_norm = false;
    c.word_width = 12;
  }
  return c;
}

/// Heavy-tailed weights, norms about 1; the same for the same seed.
inline model::Decoder random_decoder(const std::string& name,
                                     at::ScalarType dtype = at::kFloat,
                                     uint64_t seed = 1) {
  at::manual_seed(seed);
  model::Decoder decoder(small_config(name), dtype);
  for (const model::Parameter& p : decoder.parameters()) {
    Tensor value = at::randn(p.shape).pow(3) * 0.15;
    if (p.shape.size() == 1 && p.name.ends_with("norm.weight"))
      value += 1;
    *p.value = value.to(p.matrix ? dtype : at::kFloat);
  }
  return decoder;
}

inline void train_everything(model::Decoder& decoder) {
  for (const model::Parameter& p : decoder.parameters())
    *p.grad = at::zeros(p.shape);
}

using Leaves = std::map<std::string, Tensor>;

/// A decoder's definition in plain ATen and fp64.
class Definition64 {
 public:
  Definition64(const DecoderConfig& config, const Leaves& leaves)
      : c_(config), w_(leaves), names_(model::names_of(config.family)) {}

  /// @param ids  int64 [B, T]
  Tensor logits(const Tensor& ids) const {
    const int64_t tokens = ids.size(1);
    const std::string words = std::string(names_.embedding) + ".weight";
    Tensor x = w_.at(words).index_select(0, ids.flatten()).view({ids.size(0), tokens, -1});
    if (c_.projects_words())
      x = at::linear(x, w_.at(std::string(names_.project_in) + ".weight"));
    if (c_.learned_positions)
      x = x +
          w_.at(std::string(names_.positions) + ".weight").narrow(0, c_.position_offset, tokens);
    for (int64_t i = 0; i < c_.layers; ++i)
      x = block(i, x);
    if (c_.final_norm)
      x = norm(std::string(names_.norm), x);
    if (c_.projects_words())
      x = at::linear(x, w_.at(std::string(names_.project_out) + ".weight"));
    return at::linear(x, w_.at(c_.tied ? words : "lm_head.weight"));
  }

 private:
  Tensor norm(const std::string& path, const Tensor& x) const {
    if (!w_.contains(path + ".bias"))
      return x * (x.square().mean(-1, true) + 1e-5).rsqrt() * w_.at(path + ".weight");
    const Tensor centred = x - x.mean(-1, true);
    return centred * (centred.square().mean(-1, true) + 1e-5).rsqrt() * w_.at(path + ".weight") +
           w_.at(path + ".bias");
  }

  Tensor linear(const std::string& path, const Tensor& x) const {
    const Tensor y = at::matmul(x, w_.at(path + ".weight").t());
    return w_.contains(path + ".bias") ? y + w_.at(path + ".bias") : y;
  }

  Tensor rotate(const Tensor& x) const {
    if (c_.learned_positions)
      return x;
    const int64_t half = x.size(3) / 2;
    const Tensor f = at::pow(10000.0, -at::arange(0, 2 * half, 2, at::kDouble) / (2.0 * half));
    const Tensor angle = at::arange(x.size(2)).to(at::kDouble).unsqueeze(1) * f;
    const Tensor a = x.narrow(3, 0, half), b = x.narrow(3, half, half);
    return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 3);
  }

  Tensor mask(int64_t layer, int64_t tokens) const {
    const Tensor apart = at::arange(tokens).unsqueeze(1) - at::arange(tokens);
    const int64_t window = c_.windows.empty() ? 0 : c_.windows[layer];
    const Tensor hidden = apart < 0;
    return window == 0 ? hidden : hidden.logical_or(apart >= window);
  }

  Tensor attention(int64_t layer, const std::string& path, const Tensor& n) const {
    const auto at = [&](std::string_view part) { return path + std::string(part); };
    const auto heads = [&](const Tensor& x) {
      return x.unflatten(-1, {-1, c_.head_dim}).transpose(1, 2);
    };
    Tensor q, k, v;
    if (names_.qkv.empty()) {
      q = heads(linear(at(names_.q), n));
      k = heads(linear(at(names_.k), n));
      v = heads(linear(at(names_.v), n));
    } else {
      const auto three = linear(at(names_.qkv), n).chunk(3, -1);
      q = heads(three[0]);
      k = heads(three[1]);
      v = heads(three[2]);
    }
    if (c_.head_norms) {
      q = norm(at(names_.q_norm), q);
      k = norm(at(names_.k_norm), k);
    }
    const int64_t share = c_.heads / c_.kv_heads;
    Tensor s = rotate(q).matmul(rotate(k).repeat_interleave(share, 1).transpose(2, 3)) /
               std::sqrt(c_.head_dim);
    s = s.masked_fill(mask(layer, n.size(1)), -INFINITY).softmax(-1);
    const Tensor context = s.matmul(v.repeat_interleave(share, 1));
    return linear(at(names_.o), context.transpose(1, 2).flatten(2));
  }

  Tensor feed_forward(const std::string& path, const Tensor& n) const {
    const auto at = [&](std::string_view part) { return path + std::string(part); };
    const Tensor up = linear(at(names_.up), n);
    if (c_.gated)
      return linear(at(names_.down), at::silu(linear(at(names_.gate), n)) * up);
    const Tensor y =
        c_.activation == model::Activation::kRelu
            ? up.clamp_min(0)
            : 0.5 * up * (1 + at::tanh(std::sqrt(2 / M_PI) * (up + 0.044715 * up.pow(3))));
    return linear(at(names_.down), y);
  }

  Tensor block(int64_t layer, const Tensor& x) const {
    const std::string path = model::block_path(names_, layer);
    const std::string first = path + std::string(names_.attention_norm);
    const std::string second = path + std::string(names_.mlp_norm);
    if (c_.norm_first) {
      const Tensor a = x + attention(layer, path, norm(first, x));
      return a + feed_forward(path, norm(second, a));
    }
    const Tensor a = norm(first, x + attention(layer, path, x));
    return norm(second, a + feed_forward(path, a));
  }

  const DecoderConfig& c_;
  const Leaves& w_;
  const model::FamilyNames& names_;
};

inline Tensor logits64(const DecoderConfig& config, const Leaves& leaves, const Tensor& ids) {
  return Definition64(config, leaves).logits(ids);
}

}  // namespace sterna::tests
