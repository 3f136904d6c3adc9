#include <cmath>

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "kvcache/cache.h"
#include "kvcache/mask.h"

namespace sterna::kvcache {
namespace {

RopeConfig rope_config(int64_t head_dim) {
  RopeConfig config;
  config.head_dim = head_dim;
  return config;
}

std::shared_ptr<const Attention> attention(int64_t head_dim,
                                           int64_t layers = 1,
                                           int64_t window = 0) {
  Attention attention;
  attention.rope = std::make_shared<const Rope>(rope_config(head_dim));
  attention.windows.assign(layers, window);
  return std::make_shared<const Attention>(std::move(attention));
}

struct Case {
  int64_t batch, heads, kv_heads, tokens, head_dim;
  int64_t window = 0;
};

std::shared_ptr<const Attention> of(const Case& c) {
  return attention(c.head_dim, 1, c.window);
}

struct Inputs {
  Tensor q, k, v, positions;
};

// Heavy-tailed, laid out as projections lie: [B, T, H, d] seen as [B, H, T, d].
Inputs inputs(const Case& c, at::ScalarType dtype = at::kFloat) {
  at::manual_seed(7);
  const auto make = [&](int64_t heads) {
    Tensor x = at::randn({c.batch, c.tokens, heads, c.head_dim}).pow(3).clamp(-8, 8) / 2;
    x.select(1, 0).zero_();
    return x.to(dtype).transpose(1, 2);
  };
  return {make(c.heads), make(c.kv_heads), make(c.kv_heads), at::arange(c.tokens)};
}

Tensor rotate64(const Tensor& x, const Tensor& positions) {
  const int64_t d = x.size(3);
  const Tensor f = at::pow(10000.0, -at::arange(0, d, 2, at::kDouble) / d);
  const Tensor angle = positions.to(at::kDouble).unsqueeze(1) * f;
  const Tensor a = x.narrow(3, 0, d / 2);
  const Tensor b = x.narrow(3, d / 2, d / 2);
  return at::cat({a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()}, 3);
}

// The definition, in fp64 and differentiable.
Tensor attention64(
    const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& positions, int64_t window) {
  const int64_t share = q.size(1) / k.size(1);
  const Tensor keys = rotate64(k, positions).repeat_interleave(share, 1);
  const Tensor values = v.repeat_interleave(share, 1);
  Tensor s = at::matmul(rotate64(q, positions), keys.transpose(2, 3)) / std::sqrt(q.size(3));
  s = s.masked_fill(positions.unsqueeze(0) > positions.unsqueeze(1), -INFINITY);
  if (window > 0)
    s = s.masked_fill(positions.unsqueeze(0) <= positions.unsqueeze(1) - window, -INFINITY);
  return at::matmul(s.softmax(-1), values);
}

double worst(const Tensor& a, const Tensor& b) {
  return (a.to(at::kDouble) - b.to(at::kDouble)).abs().max().item<double>();
}

class AttentionOf : public testing::TestWithParam<Case> {};

TEST_P(AttentionOf, StatelessAndEagerEqualTheDefinitionInDoublePrecision) {
  const Inputs in = inputs(GetParam());
  const Tensor expected = attention64(in.q.to(at::kDouble),
                                      in.k.to(at::kDouble),
                                      in.v.to(at::kDouble),
                                      in.positions,
                                      GetParam().window);
  const auto fused = make_stateless(of(GetParam()));
  const auto eager = make_eager(of(GetParam()));
  EXPECT_LT(worst(fused->attend(0, in.q, in.k, in.v, in.positions), expected), 2e-5);
  EXPECT_LT(worst(eager->attend(0, in.q, in.k, in.v, in.positions), expected), 2e-5);
}

TEST_P(AttentionOf, GradientsEqualTheDefinitionInDoublePrecision) {
  const Inputs in = inputs(GetParam());
  std::vector<Tensor> narrow, wide;
  for (const Tensor& x : {in.q, in.k, in.v}) {
    narrow.push_back(x.detach().clone().requires_grad_());
    wide.push_back(x.detach().to(at::kDouble).requires_grad_());
  }
  const Tensor expected = attention64(wide[0], wide[1], wide[2], in.positions, GetParam().window);
  const Tensor upstream = at::randn(expected.sizes());
  expected.backward(upstream.to(at::kDouble));
  const auto check = [&](Cache& cache) {
    cache.attend(0, narrow[0], narrow[1], narrow[2], in.positions).backward(upstream);
    for (size_t i = 0; i < 3; ++i) {
      const double scale = wide[i].grad().abs().max().item<double>();
      EXPECT_LT(worst(narrow[i].grad(), wide[i].grad()), 1e-5 * std::max(scale, 1.0)) << i;
      narrow[i].mutable_grad().reset();
    }
  };
  check(*make_stateless(of(GetParam())));
  check(*make_eager(of(GetParam())));
}

TEST_P(AttentionOf, CachedInUnevenPiecesEqualsAllAtOnce) {
  const Case c = GetParam();
  const Inputs in = inputs(c);
  const Tensor expected = make_stateless(of(c))->attend(0, in.q, in.k, in.v, in.positions);
  const auto cache = make_full(of(c));
  std::vector<Tensor> pieces;
  for (int64_t at = 0, step = 1; at < c.tokens; at += step, step = 1 + (5 * step + 3) % 11) {
    step = std::min(step, c.tokens - at);
    const auto cut = [&](const Tensor& x, int64_t dim) { return x.narrow(dim, at, step); };
    EXPECT_EQ(cache->length(), at);
    pieces.push_back(
        cache->attend(0, cut(in.q, 2), cut(in.k, 2), cut(in.v, 2), cut(in.positions, 0)));
  }
  EXPECT_EQ(cache->length(), c.tokens);
  EXPECT_LT(worst(at::cat(pieces, 2), expected), 2e-5);
}

TEST_P(AttentionOf, HalfPrecisionStaysWithinItsRounding) {
  const Inputs in = inputs(GetParam(), at::kBFloat16);
  const Tensor expected = attention64(in.q.to(at::kDouble),
                                      in.k.to(at::kDouble),
                                      in.v.to(at::kDouble),
                                      in.positions,
                                      GetParam().window);
  const Tensor got = make_stateless(of(GetParam()))->attend(0, in.q, in.k, in.v, in.positions);
  EXPECT_EQ(got.scalar_type(), at::kBFloat16);
  // Scores of up to 100 with 8 bits of mantissa: single probabilities move, averages do not.
  EXPECT_LT((got.to(at::kDouble) - expected).abs().mean().item<double>(), 0.05);
}

INSTANTIATE_TEST_SUITE_P(Shapes,
                         AttentionOf,
                         testing::Values(Case{1, 1, 1, 1, 2},
                                         Case{2, 6, 2, 33, 16},
                                         Case{1, 9, 3, 130, 64},
                                         Case{1, 4, 1, 300, 8},
                                         Case{2, 4, 2, 33, 16, 1},
                                         Case{1, 4, 2, 300, 8, 7},
                                         Case{1, 2, 1, 40, 8, 40}));

TEST(FullCache, ASlidingWindowHoldsBeyondWhatItKeepsInSight) {
  // One token at a time after a prefill that is longer than the window.
  const Inputs in = inputs({1, 2, 1, 25, 8});
  const Tensor expected =
      make_stateless(attention(8, 1, 5))->attend(0, in.q, in.k, in.v, in.positions);
  const auto cache = make_full(attention(8, 1, 5));
  const auto part = [&](int64_t from, int64_t count) {
    return cache->attend(0,
                         in.q.narrow(2, from, count),
                         in.k.narrow(2, from, count),
                         in.v.narrow(2, from, count),
                         in.positions.narrow(0, from, count));
  };
  std::vector<Tensor> pieces = {part(0, 12)};
  for (int64_t t = 12; t < 25; ++t)
    pieces.push_back(part(t, 1));
  EXPECT_LT(worst(at::cat(pieces, 2), expected), 2e-5);
  EXPECT_EQ(cache->length(), 25);
}

TEST(Documents, TokensSeeOnlyTheirOwnDocumentAsIfItStoodAlone) {
  for (const int64_t window : {0, 3}) {
    const Inputs in = inputs({2, 4, 2, 11, 8});
    const Tensor documents = at::tensor({0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1,  //
                                         7, 7, 7, 2, 3, 3, 3, 3, 3, 3, 3},
                                        at::kLong)
                                 .view({2, 11});
    const Tensor positions = positions_in(documents);
    EXPECT_TRUE(at::equal(positions,
                          at::tensor({0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4,  //
                                      0, 1, 2, 0, 0, 1, 2, 3, 4, 5, 6},
                                     at::kLong)
                              .view({2, 11})));
    const auto how = attention(8, 1, window);
    const Tensor fused = make_stateless(how, documents)->attend(0, in.q, in.k, in.v, positions);
    const Tensor eager = make_eager(how, documents)->attend(0, in.q, in.k, in.v, positions);
    const struct {
      int64_t row, from, count;
    } runs[] = {{0, 0, 6}, {0, 6, 5}, {1, 0, 3}, {1, 3, 1}, {1, 4, 7}};
    for (const auto& run : runs) {
      const auto cut = [&](const Tensor& x) {
        return x.narrow(0, run.row, 1).narrow(2, run.from, run.count);
      };
      const Tensor alone =
          make_stateless(how)->attend(0, cut(in.q), cut(in.k), cut(in.v), at::arange(run.count));
      EXPECT_LT(worst(cut(fused), alone), 1e-5) << run.row << " " << run.from;
      EXPECT_LT(worst(cut(eager), alone), 1e-5) << run.row << " " << run.from;
    }
  }
}

TEST(LearnedPositions, WithoutRopeNothingIsRotated) {
  const Inputs in = inputs({1, 2, 2, 5, 4});
  const auto still = std::make_shared<const Attention>(Attention{nullptr, {0}});
  const Tensor a = make_stateless(still)->attend(0, in.q, in.k, in.v, in.positions);
  const Tensor b = make_stateless(still)->attend(0, in.q, in.k, in.v, in.positions + 100);
  EXPECT_TRUE(at::equal(a, b));
  EXPECT_LT(worst(a, make_eager(still)->attend(0, in.q, in.k, in.v, in.positions)), 1e-5);
}

TEST(EagerAttention, KeepsCausalProbabilitiesOfEveryLayerThatSumToOne) {
  const Inputs in = inputs({2, 4, 2, 17, 8});
  const auto eager = make_eager(attention(8, 2));
  eager->attend(0, in.q, in.k, in.v, in.positions);
  eager->attend(1, in.k.repeat_interleave(2, 1), in.k, in.v, in.positions);
  for (int64_t layer = 0; layer < 2; ++layer) {
    const Tensor& p = eager->probabilities(layer);
    EXPECT_EQ(p.sizes(), (std::vector<int64_t>{2, 4, 17, 17}));
    EXPECT_LT(worst(p.sum(-1), at::ones({2, 4, 17})), 1e-6);
    EXPECT_EQ(p.triu(1).abs().max().item<float>(), 0.0f);
  }
  EXPECT_FALSE(at::equal(eager->probabilities(0), eager->probabilities(1)));
}

TEST(FullCache, KeepsLayersApart) {
  const Inputs in = inputs({1, 2, 2, 5, 4});
  const auto cache = make_full(attention(4, 2));
  cache->attend(0, in.q, in.k, in.v, in.positions);
  EXPECT_EQ(cache->length(), 0) << "a token counts when the last layer has seen it";
  const Tensor second = cache->attend(1, in.q, in.k, in.v.neg(), in.positions);
  EXPECT_EQ(cache->length(), 5);
  const Tensor expected =
      make_stateless(attention(4))->attend(0, in.q, in.k, in.v.neg(), in.positions);
  EXPECT_LT(worst(second, expected), 1e-6);
}

}  // namespace
}  // namespace sterna::kvcache
