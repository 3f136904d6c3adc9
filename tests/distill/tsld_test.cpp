#include <cmath>

#include <gtest/gtest.h>

#include "distill/weighting.h"
#include "tests/distill/objectives.h"

namespace sterna::distill {
namespace {

const char* const kTsldAlone = "loss = { name = \"soft_ce\", weighting = \"tsld\" }";
const char* const kLogitAlone = "loss = \"soft_ce\"";
const char* const kOfficial =
    "loss = { name = \"soft_ce\", weighting = { name = \"tsld\", official_sum = true } }";

std::string at_temperature(const std::string& value) {
  return "loss = { name = \"soft_ce\", weighting = { name = \"tsld\", temperature = " + value +
         " } }";
}

HeadInputs random_inputs(int64_t batch = 3) {
  at::manual_seed(7);
  return given_logits(heavy_tailed({batch, 8, 31}, 2),
                      heavy_tailed({batch, 8, 31}, 2),
                      at::randint(0, 31, {batch, 8}, at::kLong));
}

TEST(Tsld, MatchesValuesWorkedByHand) {
  // Teacher: undecided, then 3 : 1 against the label, so ce = ln 2, ln 4 and the second weighs
  // 1 / (1 + e^(-ln 2 / 10)) = 0.517322. Student undecided: each token costs ln 2.
  const Tensor teacher = at::zeros({1, 2, 2});
  teacher[0][1][0] = std::log(3.0);
  const Tensor labels = at::arange(2, at::kLong).view({1, 2});
  const HeadInputs inputs = given_logits(at::zeros({1, 2, 2}), teacher, labels);
  const Outcome got = run(objective(kTsldAlone), inputs);
  EXPECT_NEAR(got.loss, 0.693147, 1e-6);
  EXPECT_NEAR(got.gradient[0][1][0].item<float>(), -0.129330f, 1e-6);
  EXPECT_NEAR(got.gradient[0][1][1].item<float>(), 0.129330f, 1e-6);
  EXPECT_NEAR(got.gradient[0][0].abs().max().item<float>(), 0.0f, 1e-7);
}

TEST(Tsld, IsPlainLogitDistillationWhereTheTeacherFindsAllTokensAlike) {
  HeadInputs inputs = random_inputs();
  inputs.teacher_hidden = at::zeros({3, 8, 31});
  const Outcome tsld = run(objective(kTsldAlone), inputs);
  const Outcome logit = run(objective(kLogitAlone), inputs);
  EXPECT_NEAR(tsld.loss, logit.loss, 1e-6 * logit.loss);
  EXPECT_NEAR(run(objective(kOfficial), inputs).loss, 3 * logit.loss, 1e-5);
  EXPECT_TRUE(at::allclose(tsld.gradient, logit.gradient, 1e-5, 1e-8));
}

TEST(Tsld, AHugeTemperatureIsPlainLogitDistillation) {
  const HeadInputs inputs = random_inputs();
  const double logit = run(objective(kLogitAlone), inputs).loss;
  EXPECT_NEAR(run(objective(at_temperature("1e6")), inputs).loss, logit, 1e-4 * logit);
}

TEST(Tsld, ATinyTemperatureLeavesOnlyTheHardestToken) {
  const Tensor ce = at::zeros({1, 3}, at::kDouble);
  ce[0][1] = 2.0;
  ce[0][2] = 0.3;
  recipes::Recipe recipe =
      recipes::Recipe::parse("w = { name = \"tsld\", temperature = 0.001 }", "test");
  const Tensor w =
      weightings().build(recipe.root(), "w")->weights({at::ones({1, 3}, at::kBool), ce});
  EXPECT_EQ(w[0][0].item<double>(), 0.0);
  EXPECT_EQ(w[0][1].item<double>(), 1.0);
}

TEST(Tsld, AStudentThatEqualsItsTeacherPaysTheTeachersEntropyAndHasNoGradient) {
  HeadInputs inputs = random_inputs();
  inputs.student_hidden = inputs.teacher_hidden.clone();
  const Outcome got = run(objective(kTsldAlone), inputs);
  EXPECT_EQ(got.gradient.abs().max().item<float>(), 0.0f);
  const Tensor log_p = inputs.teacher_hidden.to(at::kDouble).log_softmax(-1);
  const Tensor entropy = -(log_p.exp() * log_p).sum(-1);
  const Tensor ce = -log_p.gather(2, inputs.labels.unsqueeze(-1)).squeeze(-1);
  const double want = ((ce / 10).softmax(-1) * entropy).sum().item<double>() / 3;
  EXPECT_NEAR(got.loss, want, 1e-5 * want);
}

TEST(Tsld, ABatchTwiceOverCostsTheSameAndTheOfficialSumTwice) {
  const HeadInputs once = random_inputs();
  const HeadInputs twice = given_logits(at::cat({once.student_hidden, once.student_hidden}),
                                        at::cat({once.teacher_hidden, once.teacher_hidden}),
                                        at::cat({once.labels, once.labels}));
  const double ours = run(objective(kTsldAlone), once).loss;
  EXPECT_NEAR(run(objective(kTsldAlone), twice).loss, ours, 1e-6 * ours);
  const double official = run(objective(kOfficial), once).loss;
  EXPECT_NEAR(run(objective(kOfficial), twice).loss, 2 * official, 1e-6 * official);
}

TEST(Tsld, TheOrderOfTheBatchDoesNotMatter) {
  const HeadInputs inputs = random_inputs();
  const HeadInputs flipped = given_logits(
      inputs.student_hidden.flip(0), inputs.teacher_hidden.flip(0), inputs.labels.flip(0));
  const Outcome a = run(objective(kTsldAlone), inputs);
  const Outcome b = run(objective(kTsldAlone), flipped);
  EXPECT_NEAR(a.loss, b.loss, 1e-9 * a.loss);
  EXPECT_TRUE(at::equal(a.gradient, b.gradient.flip(0)));
}

TEST(Tsld, UnlabelledTokensNeitherWeighNorPay) {
  HeadInputs inputs = random_inputs(1);
  inputs.labels.slice(1, 5).fill_(kIgnoreLabel);
  const HeadInputs cut = given_logits(inputs.student_hidden.slice(1, 0, 5),
                                      inputs.teacher_hidden.slice(1, 0, 5),
                                      inputs.labels.slice(1, 0, 5));
  const Outcome got = run(objective("loss = \"tsld\""), inputs);
  const Outcome want = run(objective("loss = \"tsld\""), cut);
  EXPECT_NEAR(got.loss, want.loss, 1e-9 * want.loss);
  EXPECT_TRUE(at::equal(got.gradient.slice(1, 0, 5), want.gradient));
  EXPECT_EQ(got.gradient.slice(1, 5).abs().max().item<float>(), 0.0f);
}

}  // namespace
}  // namespace sterna::distill
