// The decoder against its definition in plain ATen and fp64.
#include "trainer/model/decoder.h"

#include <cmath>

#include <gtest/gtest.h>

namespace sterna::model {
namespace {

DecoderConfig config(bool tied) {
  DecoderConfig c;
  c.family = "llama";
  c.vocab = 37;
  c.width = 20;
  c.inner = 28;
  c.layers = 2;
  c.heads = 4;
  c.kv_heads = 2;
  c.head_dim = 6;
  c.max_positions = 64;
  c.norm_eps = 1e-5;
  c.attention_bias = true;
  c.mlp_bias = true;
  c.tied = tied;
  c.rope.head_dim = 6;
  return c;
}

Decoder random_decoder(bool tied, at::ScalarType dtype = at::kFloat) {
  at::manual_seed(1);
  Decoder decoder(config(tied), dtype);
  for (const Parameter& p : decoder.parameters()) {
    Tensor value = at::randn(p.shape).pow(3) * 0.15;
    if (p.shape.size() == 1)
      value += p.name.find("norm") != std::string::npos ? 1 : 0;
    *p.value = value.to(p.matrix ? dtype : at::kFloat);
  }
  return decoder;
}

void train_everything(Decoder& decoder) {
  for (const Parameter& p : decoder.parameters())
    *p.grad = at::zeros(p.shape);
}

using Leaves = std::map<std::string, Tensor>;

Leaves leaves_of(Decoder& decoder) {
  Leaves leaves;
  for (const Parameter& p : decoder.parameters())
    leaves[p.name] = p.value->to(at::kDouble).clone().requires_grad_();
  return leaves;
}

Tensor norm64(const Tensor& x, const Tensor& weight) {
  return x * (x.square().mean(-1, true) + 1e-5).rsqrt() * weight;
}

Tensor rotate64(const Tensor& x) {
  const int64_t half = x.size(3) / 2;
  const Tensor f = at::pow(10000.0, -at::arange(0, 2 * half, 2, at::kDouble) / (2.0 * half));
  const Tensor angle = at::arange(x.size(2)).to(at::kDouble).unsqueeze(1) * f;
  const Tensor a = x.narrow(3, 0, half), b = x.narrow(3, half, half);
  return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 3);
}

Tensor logits64(const DecoderConfig& c, const Leaves& w, const Tensor& ids) {
  const auto linear = [&](const std::string& path, const Tensor& x) {
    return at::linear(x, w.at(path + ".weight"), w.at(path + ".bias"));
  };
  const auto heads = [&](const Tensor& x, int64_t n) {
    return x.unflatten(-1, {n, -1}).transpose(1, 2);
  };
  const int64_t tokens = ids.size(1);
  Tensor x = w.at("model.embed_tokens.weight").index_select(0, ids.flatten());
  x = x.view({ids.size(0), tokens, c.width});
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string path = "model.layers." + std::to_string(i) + ".";
    Tensor n = norm64(x, w.at(path + "input_layernorm.weight"));
    const Tensor q = rotate64(heads(linear(path + "self_attn.q_proj", n), c.heads));
    const Tensor k = rotate64(heads(linear(path + "self_attn.k_proj", n), c.kv_heads));
    const Tensor v = heads(linear(path + "self_attn.v_proj", n), c.kv_heads);
    const int64_t share = c.heads / c.kv_heads;
    Tensor s = q.matmul(k.repeat_interleave(share, 1).transpose(2, 3)) / std::sqrt(c.head_dim);
    s = s.masked_fill(at::ones({tokens, tokens}, at::kBool).triu(1), -INFINITY);
    const Tensor context = s.softmax(-1).matmul(v.repeat_interleave(share, 1));
    x = x + linear(path + "self_attn.o_proj", context.transpose(1, 2).flatten(2));
    n = norm64(x, w.at(path + "post_attention_layernorm.weight"));
    x = x + linear(path + "mlp.down_proj",
                   at::silu(linear(path + "mlp.gate_proj", n)) * linear(path + "mlp.up_proj", n));
  }
  x = norm64(x, w.at("model.norm.weight"));
  return at::linear(x, w.at(c.tied ? "model.embed_tokens.weight" : "lm_head.weight"));
}

Tensor tokens() {
  at::manual_seed(2);
  return at::randint(0, 37, {3, 11}, at::kLong);
}

Tensor logits(const Decoder& decoder, const Tensor& ids) {
  const auto cache = kvcache::make_stateless(decoder.rope());
  return decoder.head(decoder.hidden(ids, at::arange(ids.size(1)), *cache));
}

double relative(const Tensor& a, const Tensor& b) {
  return ((a - b).to(at::kDouble).norm() / b.to(at::kDouble).norm()).item<double>();
}

class Definition : public testing::TestWithParam<bool> {};

TEST_P(Definition, LogitsAndAllGradientsEqualDoublePrecision) {
  Decoder decoder = random_decoder(GetParam());
  train_everything(decoder);
  const Leaves leaves = leaves_of(decoder);
  const Tensor ids = tokens();
  const Tensor expected = logits64(decoder.config(), leaves, ids);
  const Tensor got = logits(decoder, ids);
  EXPECT_LT(relative(got.detach(), expected.detach()), 1e-5);
  const Tensor upstream = at::randn(got.sizes());
  got.backward(upstream);
  expected.backward(upstream.to(at::kDouble));
  for (const Parameter& p : decoder.parameters())
    EXPECT_LT(relative(*p.grad, leaves.at(p.name).grad()), 1e-4) << p.name;
}

TEST_P(Definition, SteppingThroughDetachedLayersGivesTheSameGradients) {
  Decoder whole = random_decoder(GetParam());
  Decoder stepped = random_decoder(GetParam());
  train_everything(whole);
  train_everything(stepped);
  const Tensor ids = tokens();
  const Tensor positions = at::arange(ids.size(1));
  const Tensor upstream = at::randn({3, 11, 37});
  logits(whole, ids).backward(upstream);

  const auto cache = kvcache::make_stateless(stepped.rope());
  std::vector<Tensor> outputs{stepped.embed(ids)};
  std::vector<Tensor> inputs;
  for (int64_t i = 0; i < 2; ++i) {
    inputs.push_back(outputs.back().detach().requires_grad_());
    outputs.push_back(stepped.layer(i, inputs.back(), positions, *cache));
  }
  inputs.push_back(outputs.back().detach().requires_grad_());
  stepped.head(stepped.final_norm(inputs.back())).backward(upstream);
  for (int64_t i = 2; i >= 0; --i)
    outputs[i].backward(inputs[i].grad());
  const auto a = whole.parameters();
  const auto b = stepped.parameters();
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_LT(relative(*b[i].grad, *a[i].grad), 1e-5) << a[i].name;
}

INSTANTIATE_TEST_SUITE_P(Heads, Definition, testing::Bool());

TEST(Decoder, ParametersCountAsTheConfigurationSays) {
  for (const bool tied : {false, true}) {
    Decoder decoder = random_decoder(tied);
    int64_t count = 0;
    for (const Parameter& p : decoder.parameters())
      count += p.value->numel();
    EXPECT_EQ(count, decoder.config().parameters());
  }
}

TEST(Decoder, FrozenParametersLeaveNoGraphAndNoGradient) {
  Decoder decoder = random_decoder(true);
  EXPECT_FALSE(logits(decoder, tokens()).requires_grad());
  const Parameter last = decoder.parameters().at(1);  // the first norm, and nothing else
  *last.grad = at::zeros(last.shape);
  logits(decoder, tokens()).sum().backward();
  EXPECT_GT(last.grad->abs().max().item<float>(), 0.0f);
  EXPECT_FALSE(decoder.parameters().at(0).grad->defined());
}

TEST(Decoder, ResidualStreamKeepsItsDtypeWhateverTheLayerComputesIn) {
  const Decoder decoder = random_decoder(true, at::kBFloat16);
  const auto cache = kvcache::make_stateless(decoder.rope());
  const Tensor positions = at::arange(11);
  const Tensor x = decoder.embed(tokens());
  EXPECT_EQ(x.scalar_type(), at::kBFloat16);
  EXPECT_EQ(decoder.layer(0, x, positions, *cache).scalar_type(), at::kBFloat16);
  const Tensor wide = decoder.layer(0, x.to(at::kFloat), positions, *cache);
  EXPECT_EQ(wide.scalar_type(), at::kFloat);
  EXPECT_EQ(decoder.final_norm(wide).scalar_type(), at::kBFloat16);
}

TEST(Decoder, GradientsOfNormsDoNotDependOnTheNumberOfThreads) {
  std::vector<Tensor> found;
  const int before = at::get_num_threads();
  for (const int threads : {1, 2}) {
    at::set_num_threads(threads);
    Decoder decoder = random_decoder(true);
    const Parameter norm = decoder.parameters().at(1);
    *norm.grad = at::zeros(norm.shape);
    at::manual_seed(9);
    const auto cache = kvcache::make_stateless(decoder.rope());
    const Tensor x = at::randn({8, 50, 20}).pow(3).requires_grad_();  // four pieces of 128 rows
    decoder.final_norm(x).sum().backward();
    decoder.layer(0, x.detach(), at::arange(50), *cache).sum().backward();
    found.push_back(norm.grad->clone());
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(found[0], found[1]));
}

TEST(Decoder, ATokenOutsideTheVocabularyIsNamed) {
  const Decoder decoder = random_decoder(true);
  try {
    decoder.embed(at::full({1, 2}, 37, at::kLong));
    FAIL() << "accepted";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("token 37"), std::string::npos);
  }
}

}  // namespace
}  // namespace sterna::model
