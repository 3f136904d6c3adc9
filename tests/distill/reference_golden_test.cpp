// Losses and gradients of the published TSLD, BitDistiller and LLM-QAT code on given logits.

#include <string>

#include <gtest/gtest.h>

#include "distill/confidence.h"
#include "distill/weighting.h"
#include "tests/distill/objectives.h"
#include "tests/support/reference_set.h"

namespace sterna::distill {
namespace {

using tests::agrees;
using tests::ReferenceSet;

struct TsldCase {
  std::string name;
  std::string temperature;
};

class PublishedTsld : public testing::TestWithParam<TsldCase> {};

/// The published code lets unlabelled tokens take part in everything but ground truth.
std::string official(const std::string& term, const std::string& temperature) {
  if (term == "gt")
    return "{ name = \"gt\" }";
  if (term == "logit")
    return "{ name = \"soft_ce\", weighting = { name = \"uniform\", mask_ignored = false } }";
  return "{ name = \"soft_ce\", weighting = { name = \"tsld\", official_sum = true, temperature "
         "= " +
         temperature + " } }";
}

/// Positions 0..T-2 against labels 1..T-1.
HeadInputs shifted(const ReferenceSet& set, const std::string& name) {
  const Tensor student = set.at(name + "/student");
  const int64_t length = student.size(1) - 1;
  return given_logits(student.narrow(1, 0, length),
                      set.at(name + "/teacher").narrow(1, 0, length),
                      set.at(name + "/labels").to(at::kLong).narrow(1, 1, length));
}

/// Our gradient beside a position that is never read.
Tensor padded(const Tensor& gradient) {
  return at::constant_pad_nd(gradient, {0, 0, 0, 1});
}

void expect_case(const ReferenceSet& set,
                 const std::string& name,
                 const Objective& objective,
                 const std::string& loss) {
  const Outcome got = run(objective, shifted(set, name));
  const double want = set.at(name + "/loss." + loss).item<float>();
  EXPECT_NEAR(got.loss, want, kTolerance * std::abs(want)) << loss;
  EXPECT_TRUE(agrees(padded(got.gradient), set.at(name + "/d_student." + loss), kTolerance))
      << loss;
}

TEST_P(PublishedTsld, ValuesAndGradientsAgree) {
  STERNA_REQUIRE_DATA("qat_cases/loss_tsld.safetensors");
  const ReferenceSet set("qat_cases/loss_tsld.safetensors");
  const auto& [name, temperature] = GetParam();
  for (const std::string loss : {"gt", "logit", "tsld", "gt+tsld", "gt+logit"}) {
    std::string terms = official(loss.substr(0, loss.find('+')), temperature);
    if (loss.find('+') != std::string::npos)
      terms += ", " + official(loss.substr(loss.find('+') + 1), temperature);
    // Chunks of 5 take the plans of long sequences, the default that of short ones.
    for (const std::string chunk : {"0", "5"})
      expect_case(set, name, objective("loss = [" + terms + "]\nchunk = " + chunk), loss);
  }
}

TEST_P(PublishedTsld, TeachersLossAndTokenWeightsAgree) {
  STERNA_REQUIRE_DATA("qat_cases/loss_tsld.safetensors");
  const ReferenceSet set("qat_cases/loss_tsld.safetensors");
  const auto& [name, temperature] = GetParam();
  const HeadInputs inputs = shifted(set, name);
  const int64_t vocab = inputs.teacher_hidden.size(-1);
  const Logits teacher{inputs.teacher_hidden.reshape({-1, vocab}), {}, inputs.labels.reshape(-1)};
  const Tensor ce = logit_figures(teacher).label_ce().view_as(inputs.labels);
  EXPECT_TRUE(agrees(ce, set.at(name + "/teacher_ce"), kTolerance));
  recipes::Recipe recipe = recipes::Recipe::parse(
      "w = { name = \"tsld\", official_sum = true, temperature = " + temperature + " }", "test");
  const auto weighting = weightings().build(recipe.root(), "w");
  const Tensor weights = weighting->weights({inputs.labels >= 0, ce});
  EXPECT_TRUE(agrees(weights, set.at(name + "/token_scale"), kTolerance));
}

INSTANTIATE_TEST_SUITE_P(Cases,
                         PublishedTsld,
                         testing::Values(TsldCase{"tau10", "10.0"},
                                         TsldCase{"tau10_ignored", "10.0"},
                                         TsldCase{"tau2", "2.0"},
                                         TsldCase{"batch1", "10.0"}),
                         [](const auto& p) { return p.param.name; });

class PublishedKl : public testing::TestWithParam<std::string> {
 protected:
  /// The published loss `name` is a sum over tokens, divided by the number of sequences.
  static void expect_sum_per_sequence(const ReferenceSet& set,
                                      const Objective& kl,
                                      const std::string& name) {
    const auto given = [&](const std::string& what) { return set.at(GetParam() + "/" + what); };
    const HeadInputs inputs =
        given_logits(given("student"), given("teacher"), given("labels").to(at::kLong));
    const Outcome got = run(kl, inputs, {static_cast<double>(inputs.labels.size(0))});
    const double want = given("loss." + name).item<float>();
    EXPECT_NEAR(got.loss, want, kTolerance * want);
    EXPECT_TRUE(agrees(got.gradient, given("d_student." + name), kTolerance));
  }
};

TEST_P(PublishedKl, BitDistillersForwardKlIsASumOverLabelledTokensPerSequence) {
  STERNA_REQUIRE_DATA("qat_cases/loss_kl.safetensors");
  const ReferenceSet set("qat_cases/loss_kl.safetensors");
  expect_sum_per_sequence(set, objective("loss = \"kl\""), "forward");
}

TEST_P(PublishedKl, BitDistillersReverseKlAgrees) {
  STERNA_REQUIRE_DATA("qat_cases/loss_kl.safetensors");
  const ReferenceSet set("qat_cases/loss_kl.safetensors");
  expect_sum_per_sequence(set, objective("loss = \"reverse_kl\""), "reverse");
}

TEST_P(PublishedKl, BitDistillersCakldAgreesForAGivenBetaAndAMeasuredOne) {
  STERNA_REQUIRE_DATA("qat_cases/loss_kl.safetensors");
  const ReferenceSet set("qat_cases/loss_kl.safetensors");
  const std::string beta = GetParam() == "b3" ? "0.3" : "0.64";
  expect_sum_per_sequence(
      set, objective("loss = { name = \"cakld\", beta = " + beta + " }"), "cakld");
  Objective measured = objective("loss = \"cakld\"");
  measured.set_confidence(std::stod(beta));
  expect_sum_per_sequence(set, measured, "cakld");
}

TEST_P(PublishedKl, BitDistillersJensenShannonAgrees) {
  STERNA_REQUIRE_DATA("qat_cases/loss_kl.safetensors");
  const ReferenceSet set("qat_cases/loss_kl.safetensors");
  expect_sum_per_sequence(set, objective("loss = \"jsd\""), "jsd");
}

TEST(PublishedCakld, BetaIsTheTeachersMeanConfidence) {
  STERNA_REQUIRE_DATA("qat_cases/loss_kl.safetensors");
  const ReferenceSet set("qat_cases/loss_kl.safetensors");
  const Tensor batches = set.at("beta/teacher_batches");
  const double want = set.at("beta/beta").item<float>();
  const Objective official =
      objective("loss = { name = \"cakld\", beta_batches = 4, official_beta = true }");
  ASSERT_EQ(official.batches_to_measure(), batches.size(0));
  double sum = 0;
  for (int64_t i = 0; i < batches.size(0); ++i)
    sum += mean_confidence(batches[i], at::eye(batches.size(-1)));
  const double mean = sum / static_cast<double>(batches.size(0));
  EXPECT_NEAR(mean * 5 / 4, want, kTolerance * want);

  // A loss with what was measured is one with the published beta.
  Objective measured =
      objective("loss = { name = \"cakld\", beta_batches = 4, official_beta = true }");
  measured.set_confidence(mean);
  const Objective given =
      objective("loss = { name = \"cakld\", beta = " + std::to_string(want) + " }");
  const Tensor labels = at::zeros({2, 6}, at::kLong);
  const HeadInputs inputs = given_logits(batches[0], batches[1], labels);
  EXPECT_NEAR(run(measured, inputs).loss, run(given, inputs).loss, 1e-5);
}

/// The encoder papers' losses on classes: a batch of sequences of one position.
class PublishedClasses : public testing::TestWithParam<std::string> {};

TEST_P(PublishedClasses, SoftCrossEntropyAndGroundTruthAgree) {
  STERNA_REQUIRE_DATA("qat_cases/enc_losses.safetensors");
  const ReferenceSet set("qat_cases/enc_losses.safetensors");
  const auto given = [&](const std::string& what) { return set.at(GetParam() + "/" + what); };
  const HeadInputs inputs = given_logits(given("student_logits").unsqueeze(1),
                                         given("teacher_logits").unsqueeze(1),
                                         given("labels").to(at::kLong).unsqueeze(1));
  const auto expect = [&](const std::string& loss, const std::string& name, Counts totals) {
    const Outcome got = run(objective("loss = \"" + loss + "\""), inputs, std::move(totals));
    const double want = given("loss." + name).item<float>();
    EXPECT_NEAR(got.loss, want, kTolerance * want) << name;
    EXPECT_TRUE(agrees(got.gradient.squeeze(1), given("d_student_logits." + name), kTolerance))
        << name;
  };
  expect("soft_ce", "pred", {});
  expect("gt", "gt_mean", {});
  expect("gt", "gt_sum", {1});
}

INSTANTIATE_TEST_SUITE_P(Cases,
                         PublishedClasses,
                         testing::Values("padded", "full"),
                         [](const auto& p) { return p.param; });

TEST_P(PublishedKl, LlmQatsKlIsASumOverAllTokensPerSequence) {
  STERNA_REQUIRE_DATA("qat_cases/loss_kl.safetensors");
  const ReferenceSet set("qat_cases/loss_kl.safetensors");
  const Objective all = objective(
      "loss = { name = \"kl\", weighting = { name = \"uniform\", mask_ignored = false } }");
  expect_sum_per_sequence(set, all, "llmqat");
}

TEST_P(PublishedKl, BitDistillersTsldIsThePublishedOne) {
  STERNA_REQUIRE_DATA("qat_cases/loss_kl.safetensors");
  const ReferenceSet set("qat_cases/loss_kl.safetensors");
  expect_case(set, GetParam(), objective("loss = [" + official("tsld", "10.0") + "]"), "tsld");
}

INSTANTIATE_TEST_SUITE_P(Cases, PublishedKl, testing::Values("b3", "b4"), [](const auto& p) {
  return p.param;
});

}  // namespace
}  // namespace sterna::distill
