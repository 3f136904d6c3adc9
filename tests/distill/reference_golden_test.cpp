// Losses and gradients of the published TSLD, BitDistiller and LLM-QAT code on given logits.

#include <string>

#include <gtest/gtest.h>

#include "distill/weighting.h"
#include "tests/distill/objectives.h"
#include "tests/support/reference_set.h"

namespace sterna::distill {
namespace {

using tests::agrees;
using tests::ReferenceSet;

constexpr double kTolerance = 1e-5;

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
