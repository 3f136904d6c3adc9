// The decoder against its definition in plain ATen and fp64.
#include "trainer/model/decoder.h"

#include <gtest/gtest.h>

#include "tests/model/definition.h"
#include "tests/support/relative.h"

namespace sterna::model {
namespace {

using tests::Leaves;
using tests::random_decoder;
using tests::relative;
using tests::train_everything;

Leaves leaves_of(Decoder& decoder) {
  Leaves leaves;
  for (const Parameter& p : decoder.parameters())
    leaves[p.name] = p.value->to(at::kDouble).clone().requires_grad_();
  return leaves;
}

Tensor tokens() {
  at::manual_seed(2);
  return at::randint(0, 37, {3, 11}, at::kLong);
}

Tensor logits(const Decoder& decoder, const Tensor& ids) {
  const auto cache = kvcache::make_stateless(decoder.attention());
  return decoder.head(decoder.hidden(ids, at::arange(ids.size(1)), *cache));
}

// The floor is for what is zero but for rounding: a bias of keys that are not rotated.
void expect_near(const Tensor& grad, const Tensor& expected, const std::string& name) {
  const auto scale = expected.norm().item<double>();
  EXPECT_LT((grad - expected).norm().item<double>(), 1e-4 * std::max(scale, 1.0)) << name;
}

class Definition : public testing::TestWithParam<std::string> {};

TEST_P(Definition, LogitsAndAllGradientsEqualDoublePrecision) {
  Decoder decoder = random_decoder(GetParam());
  train_everything(decoder);
  const Leaves leaves = leaves_of(decoder);
  const Tensor ids = tokens();
  const Tensor expected = tests::logits64(decoder.config(), leaves, ids);
  const Tensor got = logits(decoder, ids);
  EXPECT_LT(relative(got.detach(), expected.detach()), 1e-5);
  const Tensor upstream = at::randn(got.sizes());
  got.backward(upstream);
  expected.backward(upstream.to(at::kDouble));
  for (const Parameter& p : decoder.parameters())
    expect_near(*p.grad, leaves.at(p.name).grad(), p.name);
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

  const auto cache = kvcache::make_stateless(stepped.attention());
  std::vector<Tensor> outputs{stepped.embed(ids, positions)};
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

INSTANTIATE_TEST_SUITE_P(Families,
                         Definition,
                         testing::ValuesIn(tests::small_config_names()),
                         tests::name_of_case);

TEST(Decoder, ParametersCountAsTheConfigurationSays) {
  for (const std::string& name : tests::small_config_names()) {
    Decoder decoder = random_decoder(name);
    int64_t count = 0;
    for (const Parameter& p : decoder.parameters())
      count += p.value->numel();
    EXPECT_EQ(count, decoder.config().parameters()) << name;
  }
}

TEST(Decoder, FrozenParametersLeaveNoGraphAndNoGradient) {
  Decoder decoder = random_decoder("llama_tied");
  EXPECT_FALSE(logits(decoder, tokens()).requires_grad());
  const Parameter last = decoder.parameters().at(1);  // the first norm, and nothing else
  *last.grad = at::zeros(last.shape);
  logits(decoder, tokens()).sum().backward();
  EXPECT_GT(last.grad->abs().max().item<float>(), 0.0f);
  EXPECT_FALSE(decoder.parameters().at(0).grad->defined());
}

TEST(Decoder, ResidualStreamKeepsItsDtypeWhateverTheLayerComputesIn) {
  const Decoder decoder = random_decoder("llama_tied", at::kBFloat16);
  const auto cache = kvcache::make_stateless(decoder.attention());
  const Tensor positions = at::arange(11);
  const Tensor x = decoder.embed(tokens(), positions);
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
    Decoder decoder = random_decoder("llama_tied");
    const Parameter norm = decoder.parameters().at(1);
    *norm.grad = at::zeros(norm.shape);
    at::manual_seed(9);
    const auto cache = kvcache::make_stateless(decoder.attention());
    const Tensor x = at::randn({8, 50, 20}).pow(3).requires_grad_();  // four pieces of 128 rows
    decoder.final_norm(x).sum().backward();
    decoder.layer(0, x.detach(), at::arange(50), *cache).sum().backward();
    found.push_back(norm.grad->clone());
  }
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(found[0], found[1]));
}

TEST(Decoder, ATokenOutsideTheVocabularyIsNamed) {
  const Decoder decoder = random_decoder("llama_tied");
  try {
    decoder.embed(at::full({1, 2}, 37, at::kLong), at::arange(2));
    FAIL() << "accepted";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("token 37"), std::string::npos);
  }
}

}  // namespace
}  // namespace sterna::model
