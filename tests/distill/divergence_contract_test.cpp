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
  const std::unique_ptr<Divergence> divergence_ = divergences().make_default(GetParam());

  Pull unit_pull(int64_t tokens) const {
    const Tensor pull = at::zeros({tokens, 2}, at::kFloat);
    pull.select(1, divergence_->target() == Target::kLabel ? 1 : 0).fill_(1);
    return pull;
  }
};

TEST_P(DivergenceContract, ItsGradientIsTheStudentsDistributionLessTheTarget) {
  Logits logits = in_double(some_logits(at::kDouble, at::kDouble));
  logits.student.requires_grad_();
  const Tensor loss = divergence_->per_token(logit_figures_reference(logits)).sum();
  const Tensor autograd = torch::autograd::grad({loss}, {logits.student})[0];
  logits.student = logits.student.detach();
  EXPECT_TRUE(at::allclose(
      logit_gradient_reference(logits, unit_pull(9)), autograd, /*rtol=*/1e-9, /*atol=*/1e-12));
}

TEST_P(DivergenceContract, ATokenWithoutLabelCostsALabelDivergenceNothing) {
  if (divergence_->target() == Target::kTeacher)
    GTEST_SKIP() << "compares with the teacher";
  const LogitFigures figures = logit_figures(some_logits(at::kFloat, at::kFloat));
  EXPECT_EQ(divergence_->per_token(figures)[4].item<double>(), 0.0);
  EXPECT_GT(divergence_->per_token(figures)[3].item<double>(), 0.0);
}

TEST_P(DivergenceContract, EqualLogitsGiveATeacherDivergenceNoGradient) {
  if (divergence_->target() == Target::kLabel)
    GTEST_SKIP() << "compares with the label";
  Logits logits = some_logits(at::kFloat, at::kFloat);
  logits.teacher = logits.student.clone();
  const LogitFigures figures = logit_figures(logits);
  logits_to_gradient_(logits, figures, unit_pull(9));
  EXPECT_EQ(logits.student.abs().max().item<float>(), 0.0f);
}

TEST_P(DivergenceContract, TheFusedPassAgreesWithDouble) {
  for (const auto student : {at::kFloat, at::kBFloat16}) {
    for (const auto teacher : {at::kFloat, at::kBFloat16}) {
      const Logits logits = some_logits(student, teacher);
      const Tensor got = divergence_->per_token(logit_figures(logits));
      const Tensor want = divergence_->per_token(logit_figures_reference(in_double(logits)));
      EXPECT_TRUE(at::allclose(got, want, /*rtol=*/2e-6, /*atol=*/2e-6)) << student << teacher;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Registered,
                         DivergenceContract,
                         testing::ValuesIn(divergences().names()),
                         [](const auto& p) { return p.param; });

TEST(LogitGradient, TheFusedPassAgreesWithDouble) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    Logits logits = some_logits(type, type);
    const Tensor pull = at::rand({9, 2});
    const Tensor want = logit_gradient_reference(in_double(logits), pull);
    const LogitFigures figures = logit_figures(logits);
    logits_to_gradient_(logits, figures, pull);
    const double rtol = type == at::kFloat ? 1e-6 : 1.0 / 256;
    EXPECT_TRUE(at::allclose(logits.student.to(at::kDouble), want, rtol, /*atol=*/2e-6)) << type;
  }
}

}  // namespace
}  // namespace sterna::distill
