#include "distill/objective.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/distill/objectives.h"

namespace sterna::distill {
namespace {

using Names = std::vector<std::string>;

/// Student and teacher of different widths, a partly labelled sequence and one without labels.
HeadInputs inputs_of(at::ScalarType type) {
  at::manual_seed(11);
  HeadInputs in{heavy_tailed({3, 10, 12}).to(type),
                heavy_tailed({77, 12}, 0.2).to(type),
                heavy_tailed({3, 10, 20}).to(type),
                heavy_tailed({77, 20}, 0.2).to(type),
                at::randint(0, 77, {3, 10}, at::kLong)};
  in.labels[1].slice(0, 6).fill_(kIgnoreLabel);
  in.labels[2].fill_(kIgnoreLabel);
  return in;
}

/// GT + 4 TSLD written out with whole tensors and autograd, in double.
Oracle gt_and_tsld(const HeadInputs& in) {
  const Tensor hidden = in.student_hidden.to(at::kDouble).requires_grad_();
  const Tensor head = in.student_head.to(at::kDouble).requires_grad_();
  const Tensor student = at::matmul(hidden, head.t()).log_softmax(-1);
  const Tensor teacher =
      at::matmul(in.teacher_hidden.to(at::kDouble), in.teacher_head.to(at::kDouble).t())
          .log_softmax(-1);
  const Tensor labelled = in.labels >= 0;
  const Tensor index = in.labels.clamp_min(0).unsqueeze(-1);
  const Tensor gt = -student.gather(2, index).squeeze(-1).masked_select(labelled).mean();
  const Tensor hard = -teacher.gather(2, index).squeeze(-1) / 10;
  const Tensor weights = hard.masked_fill(~labelled, -1e30).softmax(-1) * labelled;
  const Tensor soft = -(teacher.exp() * student).sum(-1);
  const Tensor loss = gt + 4 * (weights * soft).sum() / labelled.any(-1).sum();
  const auto grads = torch::autograd::grad({loss}, {hidden, head});
  return {loss.item<double>(), grads[0], grads[1]};
}

TEST(Objective, ReadsShorthandsAndTables) {
  EXPECT_EQ(objective("").term_names(), Names{"gt"});
  EXPECT_EQ(objective("loss = \"kl\"").term_names(), Names{"kl"});
  EXPECT_EQ(objective("loss = \"kl+gt\"").term_names(), (Names{"kl", "gt"}));
  EXPECT_EQ(objective("loss = \"tsld\"").term_names(), (Names{"gt", "tsld"}));
  EXPECT_EQ(objective("loss = \"tsld\"").term_weights(), (std::vector<double>{1, 4}));
  const Objective full = objective(
      "loss = [{ name = \"kl\", weight = 0.5 },\n"
      "        { name = \"kl\", weighting = { name = \"tsld\", temperature = 2.0 } },\n"
      "        { name = \"kl\" }, { name = \"soft_ce\", weighting = \"tsld\" }]");
  EXPECT_EQ(full.term_names(), (Names{"kl", "kl_tsld", "kl_2", "tsld"}));
  EXPECT_EQ(full.term_weights(), (std::vector<double>{0.5, 1, 1, 1}));
}

TEST(Objective, KnowsWhetherATeacherIsNeeded) {
  EXPECT_FALSE(objective("loss = \"gt\"").needs_teacher());
  EXPECT_TRUE(objective("loss = \"kl+gt\"").needs_teacher());
  EXPECT_TRUE(objective("loss = { name = \"gt\", weighting = \"tsld\" }").needs_teacher());
}

void expect_error(const std::string& text, const std::string& part) {
  try {
    objective(text);
    FAIL() << "accepted: " << text;
  } catch (const recipes::RecipeError& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("test.toml:2"), std::string::npos) << error.what();
  }
}

TEST(Objective, MistakesNamePlaceAndRemedy) {
  expect_error("loss = \"kll\"",
               "no loss is called 'kll'; expected tsld, cakld, gt, jsd, kl, reverse_kl, soft_ce");
  expect_error("loss = \"kl+gtt\"", "'gtt'");
  expect_error("loss = []", "at least one term");
  expect_error("loss = { name = \"kl\", weight = -1 }", "weight");
  expect_error("loss = { name = \"cakld\", beta = -0.5 }", "or -1");
  expect_error("loss = [\"cakld\", { name = \"cakld\", beta_batches = 3 }]", "beta_batches");
  expect_error("loss = { name = \"kl\", wieght = 1 }", "weight");
  expect_error("loss = { name = \"kl\", weighting = \"tsdl\" }", "tsld");
}

TEST(Objective, TheResolvedRecipeReadsBackTheSame) {
  for (const std::string text : {"", "loss = \"tsld\"", "loss = [{ name = \"kl\", weight = 2 }]"}) {
    recipes::Recipe first = recipes::Recipe::parse("[kd]\n" + text, "a");
    const Objective one(first.section("kd"));
    std::ostringstream resolved, again;
    first.write(resolved);
    recipes::Recipe second = recipes::Recipe::parse(resolved.str(), "b");
    const Objective two(second.section("kd"));
    second.write(again);
    EXPECT_EQ(resolved.str(), again.str());
    EXPECT_EQ(one.term_names(), two.term_names());
  }
}

TEST(Objective, CountsLabelledTokensAndSequences) {
  EXPECT_EQ(objective("loss = \"tsld\"").counts(inputs_of(at::kFloat).labels), (Counts{16, 2}));
  EXPECT_EQ(objective("loss = \"tsld\"").counts(at::empty({0, 10}, at::kLong)), (Counts{0, 0}));
}

TEST(Objective, AgreesWithWholeTensorsInDoubleHeadGradientIncluded) {
  const HeadInputs in = inputs_of(at::kFloat);
  const Oracle want = gt_and_tsld(in);
  for (const std::string chunk : {"0", "1", "7", "10", "23", "100"}) {
    const Tensor head_grad = at::ones({77, 12});
    const Outcome got = run(objective("loss = \"tsld\"\nchunk = " + chunk), in, {}, head_grad);
    EXPECT_NEAR(got.loss, want.loss, 1e-5 * want.loss) << "chunk " << chunk;
    EXPECT_TRUE(at::allclose(got.gradient.to(at::kDouble), want.d_hidden, 1e-5, 1e-6)) << chunk;
    EXPECT_TRUE(at::allclose((head_grad - 1).to(at::kDouble), want.d_head, 1e-4, 1e-5)) << chunk;
    EXPECT_GT(want.d_head.abs().max().item<double>(), 1e-2);
  }
}

TEST(Objective, ChunksSmallerThanASequenceChangeNothing) {
  // With a frozen head: one direction (rows scaled afterwards), two directions (two passes).
  for (const std::string loss : {"[{ name = \"soft_ce\", weighting = \"tsld\" }]",
                                 "[{ name = \"kl\" }, { name = \"kl\", weighting = \"tsld\" }]",
                                 "[{ name = \"gt\", weighting = \"tsld\" }]",
                                 "\"tsld\"",
                                 "\"kl+gt\""}) {
    const HeadInputs in = inputs_of(at::kFloat);
    const Outcome whole = run(objective("loss = " + loss + "\nchunk = 10"), in);
    for (const std::string chunk : {"1", "3", "30"}) {
      const Outcome part = run(objective("loss = " + loss + "\nchunk = " + chunk), in);
      EXPECT_NEAR(part.loss, whole.loss, 1e-6 * whole.loss) << loss << chunk;
      EXPECT_TRUE(at::allclose(part.gradient, whole.gradient, 1e-4, 1e-6)) << loss << chunk;
    }
  }
}

TEST(Objective, Bf16HeadsComeCloseToDouble) {
  const HeadInputs in = inputs_of(at::kBFloat16);
  const Oracle want = gt_and_tsld(in);
  const Tensor head_grad = at::zeros({77, 12});
  const Outcome got = run(objective("loss = \"tsld\""), in, {}, head_grad);
  EXPECT_EQ(got.gradient.scalar_type(), at::kBFloat16);
  EXPECT_NEAR(got.loss, want.loss, 5e-3 * want.loss);
  const auto off = [](const Tensor& a, const Tensor& b) {
    return ((a.to(at::kDouble) - b).norm() / b.norm()).item<double>();
  };
  EXPECT_LT(off(got.gradient, want.d_hidden), 2e-2);
  EXPECT_LT(off(head_grad, want.d_head), 2e-2);
}

TEST(Objective, TakesHiddenStatesOfAnotherDtypeThanTheHead) {
  HeadInputs in = inputs_of(at::kBFloat16);
  const Outcome narrow = run(objective("loss = \"tsld\""), in);
  in.student_hidden = in.student_hidden.to(at::kFloat);
  const Outcome wide = run(objective("loss = \"tsld\""), in);
  EXPECT_EQ(wide.gradient.scalar_type(), at::kFloat);
  EXPECT_EQ(wide.loss, narrow.loss);
  EXPECT_TRUE(at::equal(wide.gradient.to(at::kBFloat16), narrow.gradient));
}

TEST(Objective, MicroBatchesAddUpToTheWholeBatch) {
  const HeadInputs in = inputs_of(at::kFloat);
  const Objective tsld = objective("loss = \"tsld\"");
  const Counts totals = tsld.counts(in.labels);
  const Outcome whole = run(tsld, in, totals);
  double loss = 0;
  for (int64_t b = 0; b < 3; ++b) {
    HeadInputs one = in;
    one.student_hidden = in.student_hidden.narrow(0, b, 1);
    one.teacher_hidden = in.teacher_hidden.narrow(0, b, 1);
    one.labels = in.labels.narrow(0, b, 1);
    const Outcome part = run(tsld, one, totals);
    loss += part.loss;
    EXPECT_TRUE(at::allclose(part.gradient[0], whole.gradient[b], 1e-5, 1e-7));
  }
  EXPECT_NEAR(loss, whole.loss, 1e-6 * whole.loss);
}

TEST(Objective, ABatchWithoutLabelsGivesZeros) {
  HeadInputs in = inputs_of(at::kFloat);
  in.labels.fill_(kIgnoreLabel);
  for (const std::string loss : {"tsld", "kl", "gt"}) {
    const Tensor head_grad = at::zeros({77, 12});
    const Outcome got = run(objective("loss = \"" + loss + "\""), in, {}, head_grad);
    EXPECT_EQ(got.loss, 0.0) << loss;
    EXPECT_EQ(got.sums.front(), 0.0) << loss;
    EXPECT_EQ(got.gradient.abs().max().item<float>(), 0.0f) << loss;
    EXPECT_EQ(head_grad.abs().max().item<float>(), 0.0f) << loss;
  }
}

TEST(Objective, AnEmptyBatchGivesEmptyResults) {
  HeadInputs in = inputs_of(at::kFloat);
  in.student_hidden = in.student_hidden.slice(0, 0, 0);
  in.teacher_hidden = in.teacher_hidden.slice(0, 0, 0);
  in.labels = in.labels.slice(0, 0, 0);
  const Outcome got = run(objective("loss = \"tsld\""), in);
  EXPECT_EQ(got.gradient.sizes(), (std::vector<int64_t>{0, 10, 12}));
  EXPECT_EQ(got.loss, 0.0);
}

TEST(Objective, GroundTruthAloneNeedsNoTeacher) {
  HeadInputs in = inputs_of(at::kFloat);
  const Outcome with = run(objective("loss = \"gt\""), in);
  in.teacher_hidden = in.teacher_head = Tensor();
  const Outcome without = run(objective("loss = \"gt\""), in);
  EXPECT_EQ(with.loss, without.loss);
  EXPECT_TRUE(at::equal(with.gradient, without.gradient));
  EXPECT_THROW(run(objective("loss = \"kl\""), in), c10::Error);
}

TEST(Objective, RefusesAHeadOfAnotherVocabularyAndALabelBeyondIt) {
  HeadInputs in = inputs_of(at::kFloat);
  in.labels[0][0] = 77;
  EXPECT_THROW(run(objective("loss = \"gt\""), in), c10::Error);
  in = inputs_of(at::kFloat);
  in.teacher_head = in.teacher_head.slice(0, 0, 70);
  EXPECT_THROW(run(objective("loss = \"kl\""), in), c10::Error);
}

}  // namespace
}  // namespace sterna::distill
