// backward() of the learned clips and steps against autograd through twins of their forward passes.

#include <gtest/gtest.h>

#include "quant/quantizer.h"
#include "tests/quant/gradient_cases.h"
#include "tests/quant/twins.h"

namespace sterna::quant {
namespace {

/// Values and gradients of a quantizer against `twin(x [S, n], learned [S, 1] each)` in fp64, with
/// what is learned moved off its first values.
using Twin = std::function<Tensor(const Tensor& x, const std::vector<Tensor>& learned)>;
void expect_twin(const std::string& name,
                 const std::string& fields,
                 const Setting& s,
                 const Twin& twin,
                 double shrink = 0.6) {
  const std::string where = name + " " + fields + ", " + s.fields();
  // A row of zeros would lie on both clips, where the twin shares its gradient.
  const bool edges = fields.find("two_sided") != std::string::npos;
  const Tensor w = edges ? heavy({6, 96}, 3) : weight();
  const Tensor g = heavy(w.sizes(), 4);
  const auto quantizer = make(name, s.fields() + (fields.empty() ? "" : ", " + fields));
  quantizer->init(w);
  std::vector<Tensor> learned;
  uint64_t seed = 5;
  for (const auto& [parameter, tensor] : quantizer->parameters()) {
    tensor.mul_(normal(tensor.sizes(), seed++).mul(0.2).exp() * shrink);
    learned.push_back(exact(tensor.reshape({-1, 1})));
  }
  const Tensor x = exact(by_scale(w, s.group));
  const Tensor wq = twin(x, learned);
  (wq * by_scale(g, s.group)).sum().backward();

  const Gradients back = quantizer->backward(w, g);
  EXPECT_LT(error(decode(quantizer->encode(w)), wq.detach().reshape(w.sizes())), 1e-5) << where;
  EXPECT_LT(error(back.w, x.grad().reshape(w.sizes())), 1e-5) << where;
  ASSERT_EQ(back.params.size(), learned.size()) << where;
  for (size_t i = 0; i < learned.size(); ++i)
    EXPECT_LT(error(back.params[i].reshape(-1), learned[i].grad().reshape(-1)), 1e-5)
        << where << " parameter " << i;
}

TEST(Backward, OfLsqEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16"}))
    for (const int64_t bits : {0, 2, 3, 4, 8}) {
      const double top = bits == 0 ? 1 : static_cast<double>((int64_t{1} << (bits - 1)) - 1);
      expect_twin("lsq",
                  "bits = " + std::to_string(bits),
                  s,
                  [&](const Tensor& x, const std::vector<Tensor>& learned) {
                    const Tensor step = twins::damped_step(learned[0], x.numel(), top, s.type());
                    return twins::clamped(x, step, bits == 0 ? -1 : -top - 1, top, 0);
                  });
    }
}

TEST(Backward, OfLsqAtOneBitEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16"}))
    expect_twin("lsq", "bits = 1", s, [&](const Tensor& x, const std::vector<Tensor>& learned) {
      // What is rounded is the distance of the two levels.
      const Tensor step = twins::damped_step(learned[0], x.numel(), 1, at::kFloat);
      return twins::sign(x, twins::scale_ste(step * 2, s.type()) / 2);
    });
}

TEST(Backward, OfBalanced2EqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16"}))
    expect_twin("balanced2", "", s, [&](const Tensor& x, const std::vector<Tensor>& learned) {
      const Tensor step = twins::damped_step(learned[0], x.numel(), 1, s.type());
      return twins::clamped(x, step, -2, 1, 0.5);
    });
}

TEST(Backward, OfPactEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16"}))
    for (const int64_t bits : {2, 3, 4}) {
      const std::string fields = "bits = " + std::to_string(bits);
      expect_twin("pact", fields, s, [&](const Tensor& x, const std::vector<Tensor>& learned) {
        return twins::pact(x, learned[0], bits, s.type());
      });
    }
}

TEST(Backward, OfPactWithoutItsMeanIsTheClampsAlone) {
  const Tensor w = weight();
  const Tensor g = heavy(w.sizes(), 4);
  const auto pact = make("pact", "detach_mean = true");
  pact->init(w);
  const Tensor dw = pact->backward(w, g).w;
  EXPECT_TRUE(((dw == 0).logical_or(dw == g)).all().item<bool>());
  EXPECT_TRUE((dw != g).any().item<bool>());
}

TEST(Backward, OfClipLearnedEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16"})) {
    if (s.type() != at::kFloat)
      continue;  // the published gradient knows no rounding of scales
    for (const int64_t bits : {2, 4, 8}) {
      const std::string fields = "bits = " + std::to_string(bits);
      expect_twin(
          "clip_learned", fields, s, [&](const Tensor& x, const std::vector<Tensor>& learned) {
            const Tensor clip = twins::straight_through(learned[0], learned[0].clamp_min(1e-5));
            return twins::clips(x, -clip, clip, bits);
          });
      expect_twin("clip_learned",
                  fields + ", two_sided = true",
                  s,
                  [&](const Tensor& x, const std::vector<Tensor>& learned) {
                    const Tensor hi = at::maximum(learned[0], learned[1] + 1e-5);
                    return twins::clips(
                        x, learned[1], twins::straight_through(learned[0], hi), bits);
                  });
    }
  }
}

TEST(Backward, OfLwcEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16"}))
    for (const int64_t bits : {2, 3, 4, 8}) {
      const std::string fields = "bits = " + std::to_string(bits);
      expect_twin(
          "lwc",
          fields,
          s,
          [&](const Tensor& x, const std::vector<Tensor>& learned) {
            return twins::ranged(x, learned[0].sigmoid(), learned[1].sigmoid(), bits, s.type());
          },
          0.1);
    }
}

TEST(Backward, ThroughTheRangeEqualsTheAutogradTwin) {
  for (const Setting& s : settings({"fp32", "bf16"}))
    for (const int64_t bits : {2, 3, 8}) {
      const std::string fields = "official_range_gradient = true, bits = " + std::to_string(bits);
      expect_twin("minmax_asym", fields, s, [&](const Tensor& x, const std::vector<Tensor>&) {
        const Tensor one = at::ones({1, 1}, at::kDouble);
        return twins::ranged(x, one, one, bits, s.type());
      });
    }
}

TEST(Backward, OfNf3SidedEqualsTheAutogradTwin) {
  const Tensor levels =
      at::tensor({-1.0f, -0.53502f, -0.24693f, 0.0f, 0.18334f, 0.38199f, 0.62299f, 1.0f})
          .to(at::kDouble);
  for (const Setting& s : settings({"fp32", "bf16"}))
    expect_twin("nf3_sided",
                "official_range_gradient = true",
                s,
                [&](const Tensor& x, const std::vector<Tensor>&) {
                  return twins::sided(x, levels, s.type());
                });
}

TEST(Backward, OfTheOtherStatisticSchemesIsTheIdentityOrItsMask) {
  const Tensor w = weight();
  const Tensor g = heavy(w.sizes(), 4);
  for (const char* name : {"absmean", "dint", "llm_qat", "nf", "nf3_sided"})
    EXPECT_TRUE(at::equal(make(name, "group = 16")->backward(w, g).w, g)) << name;
  const Tensor masked = at::where(w.abs() < 2, g, at::zeros_like(g));
  EXPECT_TRUE(at::equal(make("llm_qat", "official_mask = true")->backward(w, g).w, masked));
  EXPECT_TRUE(at::equal(make("llm_qat", "official_mask = true, bits = 2")->backward(w, g).w, g));
  EXPECT_TRUE(at::equal(make("minmax_asym", "group = 16, clip_val = 2")->backward(w, g).w, masked));
}

TEST(Backward, OfAOneSidedClipMayLoseTheLowerSideAsPublished) {
  const Tensor w = at::tensor({3.0f, -3.0f, 0.5f, -0.5f}).view({1, 4});
  const Tensor g = at::tensor({1.0f, 10.0f, 100.0f, 1000.0f}).view({1, 4});
  const auto gradient = [&](const char* fields) {
    const auto clips = make("clip_learned", fields);
    clips->init(w);
    clips->parameters()[0].tensor.fill_(1.0);
    return clips->backward(w, g).params[0].item<float>();
  };
  EXPECT_EQ(gradient(""), 1.0f - 10.0f);
  EXPECT_EQ(gradient("official_lost_side = true"), 1.0f);
}

}  // namespace
}  // namespace sterna::quant
