// A packed row gives what its documents give, each alone: contract of every family.
#include <gtest/gtest.h>

#include "kvcache/mask.h"
#include "tests/model/definition.h"

namespace sterna::model {
namespace {

Decoder trained_decoder(const std::string& name) {
  Decoder decoder = tests::random_decoder(name);
  tests::train_everything(decoder);
  return decoder;
}

struct Stretch {
  int64_t row, from, count;
};
constexpr Stretch kStretches[] = {{0, 0, 6}, {0, 6, 5}, {1, 0, 3}, {1, 3, 1}, {1, 4, 7}};

Tensor documents() {
  Tensor ids = at::empty({2, 11}, at::kLong);
  int64_t document = 40;
  for (const Stretch& part : kStretches)
    ids[part.row].narrow(0, part.from, part.count).fill_(document--);
  return ids;
}

double worst(const Tensor& a, const Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

class Packed : public testing::TestWithParam<std::string> {};

TEST_P(Packed, RowsGiveTheLogitsProbabilitiesAndGradientsOfTheirDocumentsAlone) {
  Decoder packed = trained_decoder(GetParam());
  Decoder alone = trained_decoder(GetParam());
  const Tensor tokens = at::randint(0, 37, {2, 11}, at::kLong);
  const Tensor upstream = at::randn({2, 11, 37});
  const Tensor documents = model::documents();
  const Tensor positions = kvcache::positions_in(documents);
  const auto cache = kvcache::make_stateless(packed.attention(), documents);
  const Tensor logits = packed.head(packed.hidden(tokens, positions, *cache));
  logits.backward(upstream);
  const auto eager = kvcache::make_eager(packed.attention(), documents);
  const Tensor stepped = packed.head(packed.hidden(tokens, positions, *eager)).detach();
  EXPECT_LT(worst(stepped, logits.detach()), 1e-5);
  for (const Stretch& part : kStretches) {
    const auto cut = [&](const Tensor& x) {
      return x.narrow(0, part.row, 1).narrow(1, part.from, part.count);
    };
    const auto own = kvcache::make_stateless(alone.attention());
    const Tensor expected = alone.head(alone.hidden(cut(tokens), at::arange(part.count), *own));
    expected.backward(cut(upstream));
    EXPECT_LT(worst(cut(logits.detach()), expected.detach()), 1e-5) << part.row << " " << part.from;
    const Tensor p = eager->probabilities(1)[part.row].narrow(1, part.from, part.count);
    EXPECT_LT((p.narrow(2, part.from, part.count).sum(-1) - 1).abs().max().item<float>(), 1e-5);
  }
  const auto a = packed.parameters(), b = alone.parameters();
  for (size_t i = 0; i < a.size(); ++i)
    EXPECT_LT((*a[i].grad - *b[i].grad).norm().item<double>(),
              1e-4 * std::max(b[i].grad->norm().item<double>(), 1.0))  // a bias of keys: zero
        << a[i].name;
}

INSTANTIATE_TEST_SUITE_P(Families,
                         Packed,
                         testing::ValuesIn(tests::small_config_names()),
                         tests::name_of_case);

TEST(Packed, DocumentsOfAnotherShapeThanTheTokensAreRefused) {
  const Decoder decoder = trained_decoder("llama");
  const auto cache = kvcache::make_stateless(decoder.attention(), at::zeros({1, 11}, at::kLong));
  const Tensor tokens = at::zeros({2, 11}, at::kLong);
  EXPECT_THROW(decoder.hidden(tokens, at::arange(11), *cache), c10::Error);
}

}  // namespace
}  // namespace sterna::model
