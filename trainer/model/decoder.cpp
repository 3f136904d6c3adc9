// Llama's decoder (Touvron et al., arXiv:2302.13971): before attention and before the gated
// feed-forward part an RMS norm, around both a residual sum.
//   a = x + W_o attend(W_q n(x), W_k n(x), W_v n(x)),   y = a + W_down (silu(W_gate n(a)) * W_up
//   n(a))
#include "trainer/model/decoder.h"

#include "trainer/model/ops.h"

namespace sterna::model {
namespace {

struct Block {
  RmsNorm attention_norm;
  quant::Linear q, k, v, o;
  RmsNorm mlp_norm;
  quant::Linear gate, up, down;
};

// A sum in the dtype of the residual stream, whatever the branch computed in.
Tensor add_residual(const Tensor& x, const Tensor& branch) {
  return at::add(x, branch.to(x.scalar_type()));
}

// [B, T, heads * d] -> [B, heads, T, d] without a copy.
Tensor split_heads(const Tensor& x, int64_t heads) {
  return x.unflatten(-1, {heads, -1}).transpose(1, 2);
}

}  // namespace

struct Decoder::Body {
  DecoderConfig config;
  at::ScalarType dtype;
  std::shared_ptr<const kvcache::Rope> rope;
  quant::Linear embedding;  // [V, D]; as a Linear it also is the tied head
  std::vector<Block> blocks;
  RmsNorm norm;
  quant::Linear head;  // unused where tied
};

Decoder::Decoder(const DecoderConfig& config, at::ScalarType compute_dtype)
    : body_(std::make_unique<Body>()) {
  body_->config = config;
  body_->dtype = compute_dtype;
  body_->rope = std::make_shared<const kvcache::Rope>(config.rope);
  body_->embedding.name = "model.embed_tokens";
  body_->blocks.resize(config.layers);
  for (int64_t i = 0; i < config.layers; ++i) {
    Block& block = body_->blocks[i];
    const std::string path = "model.layers." + std::to_string(i) + ".";
    block.attention_norm.eps = block.mlp_norm.eps = config.norm_eps;
    block.q.name = path + "self_attn.q_proj";
    block.k.name = path + "self_attn.k_proj";
    block.v.name = path + "self_attn.v_proj";
    block.o.name = path + "self_attn.o_proj";
    block.gate.name = path + "mlp.gate_proj";
    block.up.name = path + "mlp.up_proj";
    block.down.name = path + "mlp.down_proj";
  }
  body_->norm.eps = config.norm_eps;
  body_->head.name = "lm_head";
}

Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

const DecoderConfig& Decoder::config() const {
  return body_->config;
}

std::shared_ptr<const kvcache::Rope> Decoder::rope() const {
  return body_->rope;
}

at::ScalarType Decoder::compute_dtype() const {
  return body_->dtype;
}

Tensor Decoder::embed(const Tensor& tokens) const {
  return embed_rows(tokens, body_->embedding.weight, body_->embedding.grad);
}

Tensor Decoder::attention(int64_t index,
                          const Tensor& x,
                          const Tensor& positions,
                          kvcache::Cache& cache) const {
  const Block& block = body_->blocks.at(index);
  const DecoderConfig& config = body_->config;
  const Tensor n = block.attention_norm.forward(x, body_->dtype);
  const Tensor context = cache.attend(index,
                                      split_heads(block.q.forward(n), config.heads),
                                      split_heads(block.k.forward(n), config.kv_heads),
                                      split_heads(block.v.forward(n), config.kv_heads),
                                      positions);
  return block.o.forward(context.transpose(1, 2).flatten(2));
}

Tensor Decoder::layer(int64_t index,
                      const Tensor& x,
                      const Tensor& positions,
                      kvcache::Cache& cache,
                      const AttentionOutput& site) const {
  const Block& block = body_->blocks.at(index);
  const bool all = site.instead.defined() && !site.rows.defined();
  Tensor out = all ? site.instead.to(body_->dtype) : attention(index, x, positions, cache);
  if (site.rows.defined())
    out = at::where(site.rows.view({-1, 1, 1}), site.instead.to(out.scalar_type()), out);
  if (site.seen != nullptr)
    *site.seen = out;
  const Tensor a = add_residual(x, out);
  const Tensor n = block.mlp_norm.forward(a, body_->dtype);
  return add_residual(a, block.down.forward(silu_mul(block.gate.forward(n), block.up.forward(n))));
}

Tensor Decoder::final_norm(const Tensor& x) const {
  return body_->norm.forward(x, body_->dtype);
}

Tensor Decoder::head(const Tensor& hidden) const {
  return head_linear().forward(hidden);
}

quant::Linear& Decoder::head_linear() {
  return body_->config.tied ? body_->embedding : body_->head;
}

const quant::Linear& Decoder::head_linear() const {
  return body_->config.tied ? body_->embedding : body_->head;
}

Tensor Decoder::hidden(const Tensor& tokens, const Tensor& positions, kvcache::Cache& cache) const {
  Tensor x = embed(tokens);
  for (int64_t i = 0; i < body_->config.layers; ++i)
    x = layer(i, x, positions, cache);
  return final_norm(x);
}

std::vector<quant::Linear*> Decoder::linears() {
  std::vector<quant::Linear*> all;
  for (int64_t i = 0; i < body_->config.layers; ++i) {
    for (quant::Linear* linear : linears_of_layer(i))
      all.push_back(linear);
  }
  return all;
}

std::vector<quant::Linear*> Decoder::linears_of_layer(int64_t index) {
  Block& b = body_->blocks.at(index);
  return {&b.q, &b.k, &b.v, &b.o, &b.gate, &b.up, &b.down};
}

std::vector<Parameter> Decoder::parameters() {
  const DecoderConfig& c = body_->config;
  std::vector<Parameter> list;
  int64_t layer = -1;
  const auto add_norm = [&](const std::string& path, RmsNorm& norm) {
    list.push_back({path + ".weight", {c.width}, &norm.weight, &norm.grad, false, layer});
  };
  const auto add_linear = [&](quant::Linear& l, int64_t n, int64_t k, bool bias) {
    list.push_back({l.name + ".weight", {n, k}, &l.weight, &l.grad, true, layer});
    if (bias)
      list.push_back({l.name + ".bias", {n}, &l.bias, &l.bias_grad, false, layer});
    if (l.adapter)
      for (const quant::AdapterMatrix& m : l.adapter->matrices())
        list.push_back({l.name + "." + m.name, m.shape, m.value, m.grad, true, layer, true});
  };
  const int64_t q_width = c.heads * c.head_dim;
  const int64_t kv_width = c.kv_heads * c.head_dim;
  add_linear(body_->embedding, c.vocab, c.width, false);
  for (layer = 0; layer < c.layers; ++layer) {
    Block& b = body_->blocks[layer];
    const std::string path = "model.layers." + std::to_string(layer) + ".";
    add_norm(path + "input_layernorm", b.attention_norm);
    add_linear(b.q, q_width, c.width, c.attention_bias);
    add_linear(b.k, kv_width, c.width, c.attention_bias);
    add_linear(b.v, kv_width, c.width, c.attention_bias);
    add_linear(b.o, c.width, q_width, c.attention_bias);
    add_norm(path + "post_attention_layernorm", b.mlp_norm);
    add_linear(b.gate, c.inner, c.width, c.mlp_bias);
    add_linear(b.up, c.inner, c.width, c.mlp_bias);
    add_linear(b.down, c.width, c.inner, c.mlp_bias);
  }
  layer = -1;
  add_norm("model.norm", body_->norm);
  if (!c.tied)
    add_linear(body_->head, c.vocab, c.width, false);
  return list;
}

void Decoder::move_to(at::Device device) {
  for (const Parameter& p : parameters()) {
    for (Tensor* tensor : {p.value, p.grad}) {
      if (tensor->defined())
        *tensor = tensor->to(device);
    }
  }
}

}  // namespace sterna::model
