// Hidden states layer by layer, against the published TSLD and encoder code.

#include <gtest/gtest.h>

#include "tests/distill/objectives.h"
#include "tests/support/reference_set.h"

namespace sterna::distill {
namespace {

using tests::agrees;
using tests::ReferenceSet;

/// Value and gradients of `kd.hidden` on given states; part 0 is the embedding.
struct Compared {
  double loss = 0;
  std::vector<Tensor> gradients;
};

Compared compare(const Objective& objective,
                 const std::vector<Tensor>& student,
                 const std::vector<Tensor>& teacher) {
  const auto last = static_cast<int64_t>(student.size()) - 1;
  const Tensor labels = at::zeros({student[0].size(0), student[0].size(1)}, at::kLong);
  const Counts totals = objective.counts(labels);
  const Tensor sums = at::zeros({static_cast<int64_t>(totals.size())}, at::kDouble);
  Compared result;
  for (int64_t i = 0; i <= last; ++i) {
    const std::string site = hidden_site(i == last ? last + 1 : i, last);
    result.gradients.push_back(
        objective.compare_hidden(site, student[i], teacher[i], totals, sums));
  }
  result.loss = objective.term_weights().back() * sums[-1].item<double>() / totals.back();
  return result;
}

std::vector<Tensor> states(const ReferenceSet& set, const std::string& name, int64_t count) {
  std::vector<Tensor> all;
  for (int64_t i = 0; i < count; ++i)
    all.push_back(set.at(name + std::to_string(i)));
  return all;
}

TEST(HiddenLoss, HiddenStatesOfTheL2lLossAgree) {
  STERNA_REQUIRE_DATA("qat_cases/loss_tsld.safetensors");
  const ReferenceSet set("qat_cases/loss_tsld.safetensors");
  const Compared got = compare(objective("loss = \"soft_ce\"\nhidden = [{ match = \"*\" }]"),
                               states(set, "l2l/student_hidden.", 3),
                               states(set, "l2l/teacher_hidden.", 3));
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_TRUE(agrees(
        got.gradients[i], set.at("l2l/d_student_hidden." + std::to_string(i) + ".l2l"), kTolerance))
        << i;
  // The published value adds the attention scores, which decoders are not compared by here.
  double scores = 0;
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto score = [&](const std::string& whose) {
      const Tensor s = set.at("l2l/" + whose + "_score." + std::to_string(layer));
      return s.masked_fill(s <= -1e5, 0).to(at::kDouble);
    };
    const Tensor apart = (score("student") - score("teacher")).square().tril();
    scores += apart.sum().item<double>() / (2 * 2 * 10 * 11 / 2);
  }
  const double want = set.at("l2l/loss.l2l").item<float>();
  EXPECT_NEAR(got.loss + scores, want, kTolerance * want);
}

TEST(HiddenLoss, TheEncoderPapersRepresentationLossAgrees) {
  STERNA_REQUIRE_DATA("qat_cases/enc_losses.safetensors");
  const ReferenceSet set("qat_cases/enc_losses.safetensors");
  for (const auto& [name, count] : std::map<std::string, int64_t>{{"padded", 3}, {"full", 2}}) {
    const Compared got = compare(objective("hidden = [{ match = \"*\" }]"),
                                 states(set, name + "/student_rep.", count),
                                 states(set, name + "/teacher_rep.", count));
    const double want = set.at(name + "/loss.rep").item<float>();
    EXPECT_NEAR(got.loss, want, kTolerance * want) << name;
    for (int64_t i = 0; i < count; ++i)
      EXPECT_TRUE(agrees(got.gradients[i],
                         set.at(name + "/d_student_rep." + std::to_string(i) + ".rep"),
                         kTolerance))
          << name << i;
  }
}

TEST(HiddenLoss, TheFirstPatternThatFitsGivesTheWeight) {
  const Objective some = objective(
      "hidden = [{ match = \"layers.0\", weight = 3.0 }, { match = \"layers.*\" },\n"
      "          { match = \"norm\", weight = 0.5 }]");
  EXPECT_EQ(some.hidden().weight("layers.0"), 3);
  EXPECT_EQ(some.hidden().weight("layers.1"), 1);
  EXPECT_EQ(some.hidden().weight("norm"), 0.5);
  EXPECT_EQ(some.hidden().weight("embed_tokens"), 0);
  EXPECT_EQ(some.term_names(), (std::vector<std::string>{"gt", "hidden"}));
  EXPECT_TRUE(some.needs_teacher());
  const Tensor x = at::ones({2, 3, 4});
  const Tensor zero = at::zeros_like(x);
  const Compared got = compare(some, {x, x, x, x}, {zero, zero, zero, zero});
  EXPECT_FALSE(got.gradients[0].defined());
  EXPECT_NEAR(got.loss, 3 + 1 + 0.5, 1e-12);
  // 2 weight (s - t) / (B T D)
  EXPECT_NEAR(got.gradients[1][0][0][0].item<float>(), 2 * 3.0 / 24, 1e-7);
}

TEST(HiddenLoss, SitesAreTheOutputsOfModulesTheLastBlocksBehindTheNorm) {
  EXPECT_EQ(hidden_sites(3),
            (std::vector<std::string>{"embed_tokens", "layers.0", "layers.1", "norm"}));
  const Objective typo = objective("hidden = [{ match = \"layer.*\" }]");
  try {
    typo.hidden().require_matches(hidden_sites(3));
    FAIL() << "accepted";
  } catch (const recipes::RecipeError& error) {
    EXPECT_NE(std::string(error.what()).find("the nearest is 'layers."), std::string::npos)
        << error.what();
    EXPECT_NE(std::string(error.what()).find("test.toml:2"), std::string::npos) << error.what();
  }
  EXPECT_THROW(objective("hidden = \"norm\""), recipes::RecipeError);
}

}  // namespace
}  // namespace sterna::distill
