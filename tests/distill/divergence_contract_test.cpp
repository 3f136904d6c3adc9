// The promises of distill/divergence.h, for every registered divergence, and the fused figures and
// gradients against whole-tensor operations in double.

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "distill/divergence.h"
#include "tests/distill/objectives.h"

namespace sterna::distill {
namespace {

Logits some_logits(at::ScalarType student, at::ScalarType teacher) {
  at::manual_seed(5);
  Logits logits{heavy_tailed({9, 83}, 2).to(student),
                heavy_tailed({9, 83}, 2).to(teacher),
                at::randint(0, 83, {9}, at::kLong)};
  logits.labels[4] = kIgnoreLabel;
  logits.student[2].zero_();
  return logits;
}

Logits in_double(const Logits& logits) {
  return {logits.student.to(at::kDouble), logits.teacher.to(at::kDouble), logits.labels};
}

class DivergenceContract : public testing::TestWithParam<std::string> {
 protected:
  DivergenceContract() { divergence_->set_confidence(0.4); }

  LogitFigures figures(const Logits& logits) const {
    return logit_figures(logits, divergence_->view());
  }
  LogitFigures reference(const Logits& logits) const {
    return logit_figures_reference(logits, divergence_->view());
  }

  Pull unit_pull(int64_t tokens) const {
    const Direction d = divergence_->direction();
    return at::tensor({d.teacher, d.label, d.reverse, d.mixture}, at::kFloat)
        .expand({tokens, 4})
        .contiguous();
  }

  const std::unique_ptr<Divergence> divergence_ = divergences().make_default(GetParam());
};

TEST_P(DivergenceContract, ItsGradientIsItsDirection) {
  Logits logits = in_double(some_logits(at::kDouble, at::kDouble));
  logits.student.requires_grad_();
  const Tensor loss = divergence_->per_token(reference(logits)).sum();
  const Tensor autograd = torch::autograd::grad({loss}, {logits.student})[0];
  logits.student = logits.student.detach();
  EXPECT_TRUE(at::allclose(
      logit_gradient_reference(logits, divergence_->view(), unit_pull(9).to(at::kDouble)),
      autograd,
      /*rtol=*/1e-6,
      /*atol=*/1e-9));
}

TEST_P(DivergenceContract, ATokenWithoutLabelCostsALabelDivergenceNothing) {
  if (divergence_->target() == Target::kTeacher)
    GTEST_SKIP() << "compares with the teacher";
  const LogitFigures said = figures(some_logits(at::kFloat, at::kFloat));
  EXPECT_EQ(divergence_->per_token(said)[4].item<double>(), 0.0);
  EXPECT_GT(divergence_->per_token(said)[3].item<double>(), 0.0);
}

TEST_P(DivergenceContract, EqualLogitsGiveATeacherDivergenceNoGradient) {
  if (divergence_->target() == Target::kLabel)
    GTEST_SKIP() << "compares with the label";
  Logits logits = some_logits(at::kFloat, at::kFloat);
  logits.teacher = logits.student.clone();
  const LogitFigures said = figures(logits);
  logits_to_gradient_(logits, {{divergence_->view(), said, unit_pull(9)}});
  EXPECT_EQ(logits.student.abs().max().item<float>(), 0.0f);
}

TEST_P(DivergenceContract, TheFusedPassAgreesWithDouble) {
  for (const auto student : {at::kFloat, at::kBFloat16}) {
    for (const auto teacher : {at::kFloat, at::kBFloat16}) {
      const Logits logits = some_logits(student, teacher);
      const Tensor got = divergence_->per_token(figures(logits));
      const Tensor want = divergence_->per_token(reference(in_double(logits)));
      EXPECT_TRUE(at::allclose(got, want, /*rtol=*/2e-6, /*atol=*/2e-6)) << student << teacher;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registered,
                         DivergenceContract,
                         testing::ValuesIn(divergences().names()),
                         [](const auto& p) { return p.param; });

TEST(LogitGradient, TheFusedPassOfSeveralViewsAgreesWithDouble) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    Logits logits = some_logits(type, type);
    std::vector<Viewed> views{{{1, 0}, {}, {}}, {{2.5, 0.3}, {}, {}}, {{0.5, 0}, {}, {}}};
    Tensor want = at::zeros({9, 83}, at::kDouble);
    for (Viewed& each : views) {
      each.pull = at::rand({9, 4});
      each.figures = logit_figures(logits, each.view);
      want += logit_gradient_reference(in_double(logits), each.view, each.pull);
    }
    logits_to_gradient_(logits, views);
    const double rtol = type == at::kFloat ? 2e-6 : 1.0 / 64;  // bf16: each view, and the sums
    const double atol = type == at::kFloat ? 4e-6 : 4e-3;
    EXPECT_TRUE(at::allclose(logits.student.to(at::kDouble), want, rtol, atol)) << type;
  }
}

}  // namespace
}  // namespace sterna::distill
