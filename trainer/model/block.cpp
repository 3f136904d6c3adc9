#include "trainer/model/block.h"

namespace sterna::model {
namespace {

// A sum in the dtype of the residual stream, whatever the branch computed in.
Tensor add_residual(const Tensor& x, const Tensor& branch) {
  return at::add(x, branch.to(x.scalar_type()));
}

// [B, T, heads * d] -> [B, T, heads, d] without a copy.
Tensor split_heads(const Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads});
}

Tensor activate(Activation activation, const Tensor& x) {
  switch (activation) {
    case Activation::kSilu:
      return at::silu(x);
    case Activation::kRelu:
      return at::relu(x);
    case Activation::kGelu:
      return at::gelu(x);
    case Activation::kGeluTanh:
      return at::gelu(x, "tanh");
  }
  TORCH_CHECK(false, "unknown activation");
}

}  // namespace

Tensor Norm::forward(const Tensor& x, at::ScalarType dtype) const {
  return kind == NormKind::kRms ? RmsNorm{weight, grad, eps}.forward(x, dtype)
                                : LayerNorm{weight, bias, grad, bias_grad, eps}.forward(x, dtype);
}

void ParameterList::add(quant::Linear& linear, int64_t n, int64_t k, bool bias) {
  put({linear.name + ".weight", {n, k}, &linear.weight, &linear.grad, /*matrix=*/true, layer_});
  if (bias)
    put({linear.name + ".bias", {n}, &linear.bias, &linear.bias_grad, /*matrix=*/false, layer_});
  if (!linear.adapter)
    return;
  for (const quant::AdapterMatrix& m : linear.adapter->matrices())
    put({linear.name + "." + m.name, m.shape, m.value, m.grad, true, layer_, /*adapter=*/true});
}

void ParameterList::add(const std::string& path, Norm& norm, int64_t width) {
  put({path + ".weight", {width}, &norm.weight, &norm.grad, /*matrix=*/false, layer_});
  if (norm.kind == NormKind::kLayer)
    put({path + ".bias", {width}, &norm.bias, &norm.bias_grad, /*matrix=*/false, layer_});
}

void ParameterList::add_table(const std::string& path,
                              Tensor& table,
                              Tensor& grad,
                              std::vector<int64_t> shape) {
  put({path + ".weight", std::move(shape), &table, &grad, /*matrix=*/false, layer_});
}

void ParameterList::put(Parameter parameter) {
  parameter.behind = behind_;
  list_.push_back(std::move(parameter));
}

std::string Block::path(std::string_view part) const {
  return block_path(names_, layer_) + std::string(part);
}

Block::Block(const DecoderConfig& config, int64_t layer)
    : config_(config), names_(names_of(config.family)), layer_(layer) {
  for (Norm* norm : {&attention_norm_, &mlp_norm_}) {
    norm->kind = config.norm;
    norm->eps = config.norm_eps;
  }
  q_norm_.eps = k_norm_.eps = config.norm_eps;
  q_.name = path(names_.qkv.empty() ? names_.q : names_.qkv);
  k_.name = path(names_.k);
  v_.name = path(names_.v);
  o_.name = path(names_.o);
  gate_.name = path(names_.gate);
  up_.name = path(names_.up);
  down_.name = path(names_.down);
}

Tensor Block::attention(const Tensor& n, const Tensor& positions, kvcache::Cache& cache) const {
  const DecoderConfig& c = config_;
  Tensor q = q_.forward(n);
  Tensor k, v;
  if (names_.qkv.empty()) {
    k = k_.forward(n);
    v = v_.forward(n);
  } else {
    const int64_t kv = c.kv_heads * c.head_dim;
    const auto parts = q.split_with_sizes({c.heads * c.head_dim, kv, kv}, -1);
    q = parts[0];
    k = parts[1];
    v = parts[2];
  }
  q = split_heads(q, c.heads);
  k = split_heads(k, c.kv_heads);
  if (c.head_norms) {
    q = q_norm_.forward(q, n.scalar_type());
    k = k_norm_.forward(k, n.scalar_type());
  }
  k = rounded(key_act_, k);
  v = rounded(value_act_, split_heads(v, c.kv_heads));
  const Tensor context =
      cache.attend(layer_, q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), positions);
  return o_.forward(context.transpose(1, 2).flatten(2));
}

/// @param heads  [B, T, J, d]
Tensor Block::rounded(const std::shared_ptr<quant::ActQuantizer>& act, const Tensor& heads) const {
  if (!act)
    return heads;
  return heads_together_ ? quant::fake_quantize(act, heads.flatten(2)).view_as(heads)
                         : quant::fake_quantize(act, heads);
}

Tensor Block::feed_forward(const Tensor& n) const {
  const Tensor up = up_.forward(n);
  if (!config_.gated)
    return down_.forward(activate(config_.activation, up));
  const Tensor gate = gate_.forward(n);
  return down_.forward(config_.activation == Activation::kSilu
                           ? silu_mul(gate, up)
                           : activate(config_.activation, gate) * up);
}

Tensor Block::attention_or_instead(const Tensor& x,
                                   const Tensor& positions,
                                   kvcache::Cache& cache,
                                   const AttentionOutput& site) const {
  const at::ScalarType dtype = o_.weight.scalar_type();
  const bool all = site.instead.defined() && !site.rows.defined();
  Tensor out;
  if (all)
    out = site.instead.to(dtype);
  else
    out = attention(
        config_.norm_first ? attention_norm_.forward(x, dtype) : x.to(dtype), positions, cache);
  if (site.rows.defined())
    out = at::where(site.rows.view({-1, 1, 1}), site.instead.to(out.scalar_type()), out);
  if (site.seen != nullptr)
    *site.seen = out;
  return out;
}

Tensor Block::forward(const Tensor& x,
                      const Tensor& positions,
                      kvcache::Cache& cache,
                      const AttentionOutput& site) const {
  const at::ScalarType dtype = o_.weight.scalar_type();
  Tensor a = add_residual(x, attention_or_instead(x, positions, cache, site));
  if (config_.norm_first)
    return add_residual(a, feed_forward(mlp_norm_.forward(a, dtype)));
  a = attention_norm_.forward(a, a.scalar_type());
  const Tensor y = add_residual(a, feed_forward(a.to(dtype)));
  return mlp_norm_.forward(y, y.scalar_type());
}

std::vector<quant::Linear*> Block::linears() {
  std::vector<quant::Linear*> all = {&q_};
  if (names_.qkv.empty())
    all.insert(all.end(), {&k_, &v_});
  all.push_back(&o_);
  if (config_.gated)
    all.push_back(&gate_);
  all.insert(all.end(), {&up_, &down_});
  return all;
}

void Block::list_act_sites(std::vector<ActSite>& sites) {
  for (quant::Linear* linear : linears())
    sites.push_back({linear->name, quant::ActKind::kInput, &linear->act});
  sites.push_back({path("key"), quant::ActKind::kKey, &key_act_});
  sites.push_back({path("value"), quant::ActKind::kValue, &value_act_});
}

void Block::list(ParameterList& parameters) {
  const DecoderConfig& c = config_;
  const int64_t q_width = c.heads * c.head_dim;
  const int64_t kv_width = c.kv_heads * c.head_dim;
  parameters.stand_in(layer_);
  parameters.add(path(names_.attention_norm), attention_norm_, c.width);
  if (names_.qkv.empty()) {
    parameters.add(q_, q_width, c.width, c.qkv_bias);
    parameters.add(k_, kv_width, c.width, c.qkv_bias);
    parameters.add(v_, kv_width, c.width, c.qkv_bias);
  } else {
    parameters.add(q_, q_width + 2 * kv_width, c.width, c.qkv_bias);
  }
  if (c.head_norms) {
    parameters.add(path(names_.q_norm), q_norm_, c.head_dim);
    parameters.add(path(names_.k_norm), k_norm_, c.head_dim);
  }
  parameters.add(o_, c.width, q_width, c.o_bias);
  parameters.add(path(names_.mlp_norm), mlp_norm_, c.width);
  if (c.gated)
    parameters.add(gate_, c.inner, c.width, c.mlp_bias);
  parameters.add(up_, c.inner, c.width, c.mlp_bias);
  parameters.add(down_, c.width, c.inner, c.mlp_bias);
}

}  // namespace sterna::model
