// Direct preference optimization against whole tensors and autograd in double.
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "distill/dpo.h"
#include "recipes/user_error.h"
#include "tests/distill/objectives.h"

namespace sterna::distill {
namespace {

constexpr int64_t kRows = 6, kLength = 9, kWidth = 12, kVocab = 53;

/// Three pairs with prompts and ends of other lengths; of the last one an answer has no token.
HeadInputs inputs(at::ScalarType dtype = at::kFloat) {
  at::manual_seed(17);
  HeadInputs in;
  in.student_hidden = heavy_tailed({kRows, kLength, kWidth}, 0.5).to(dtype);
  in.student_head = heavy_tailed({kVocab, kWidth}, 0.2).to(dtype);
  in.teacher_hidden = heavy_tailed({kRows, kLength, kWidth + 3}, 0.5).to(dtype);
  in.teacher_head = heavy_tailed({kVocab, kWidth + 3}, 0.2).to(dtype);
  in.labels = at::randint(0, kVocab, {kRows, kLength}, at::kLong);
  for (int64_t row = 0; row < kRows; ++row) {
    in.labels[row].slice(0, 0, 1 + row / 2).fill_(kIgnoreLabel);
    in.labels[row].slice(0, kLength - row % 3).fill_(kIgnoreLabel);
  }
  in.labels[5].fill_(kIgnoreLabel);
  return in;
}

Tensor log_probability(const Tensor& hidden, const Tensor& head, const Tensor& labels) {
  const Tensor log_p = at::matmul(hidden, head.t()).log_softmax(-1);
  const Tensor each = log_p.gather(2, labels.clamp_min(0).unsqueeze(2)).squeeze(2);
  return (each * (labels >= 0)).sum(1);
}

struct DpoOracle {
  double loss, margin, accuracy;
  Tensor d_hidden, d_head;
};

DpoOracle oracle(const HeadInputs& in, double beta) {
  const Tensor hidden = in.student_hidden.to(at::kDouble).requires_grad_();
  const Tensor head = in.student_head.to(at::kDouble).requires_grad_();
  const Tensor gained =
      log_probability(hidden, head, in.labels) - log_probability(in.teacher_hidden.to(at::kDouble),
                                                                 in.teacher_head.to(at::kDouble),
                                                                 in.labels);
  const Tensor margin = beta * (gained.slice(0, 0, 4, 2) - gained.slice(0, 1, 4, 2));
  const Tensor loss = -at::log_sigmoid(margin).mean();
  const auto grads = torch::autograd::grad({loss}, {hidden, head});
  return {loss.item<double>(),
          margin.mean().item<double>(),
          (margin > 0).to(at::kDouble).mean().item<double>(),
          grads[0],
          grads[1]};
}

TEST(Dpo, HasValuesAndGradientsOfItsFormulaForEveryChunk) {
  const HeadInputs in = inputs();
  for (const char* beta : {"0.1", "2.5"}) {
    const DpoOracle wanted = oracle(in, std::stod(beta));
    for (const char* chunk : {"0", "1", "5", "100"}) {
      const Objective kd =
          objective(std::string("chunk = ") + chunk + "\ndpo = { beta = " + beta + " }");
      EXPECT_EQ(kd.counts(in.labels), (Counts{2, 2, 2}));
      const Tensor head_grad = at::zeros({kVocab, kWidth});
      const Outcome found = run(kd, in, {}, head_grad);
      EXPECT_NEAR(found.loss, wanted.loss, 1e-6 * (1 + wanted.loss));
      EXPECT_NEAR(found.sums[1] / 2, wanted.margin, 1e-5 * (1 + std::abs(wanted.margin)));
      EXPECT_EQ(found.sums[2] / 2, wanted.accuracy);
      EXPECT_LT((found.gradient - wanted.d_hidden).abs().max().item<double>(), 1e-5);
      EXPECT_LT((head_grad - wanted.d_head).abs().max().item<double>(), 2e-5);
    }
  }
}

TEST(Dpo, InBf16StaysNearItsFormula) {
  const HeadInputs in = inputs(at::kBFloat16);
  const DpoOracle wanted = oracle(in, 0.1);
  const Outcome found = run(objective("dpo = {}"), in, {}, at::zeros({kVocab, kWidth}));
  EXPECT_NEAR(found.loss, wanted.loss, 0.02 * wanted.loss);
  EXPECT_LT((found.gradient.to(at::kDouble) - wanted.d_hidden).norm().item<double>(),
            0.03 * wanted.d_hidden.norm().item<double>());
}

TEST(Dpo, OfAModelThatIsItsOwnReferenceIsLogTwo) {
  HeadInputs in = inputs();
  in.teacher_hidden = in.student_hidden;
  in.teacher_head = in.student_head;
  const Objective kd = objective("dpo = { beta = 0.3 }");
  const Outcome found = run(kd, in);
  EXPECT_NEAR(found.loss, std::log(2.0), 1e-12);
  EXPECT_EQ(found.sums[1], 0);
  // -beta / 2 times the difference of the gradients of both log probabilities.
  const Tensor hidden = in.student_hidden.to(at::kDouble).requires_grad_();
  const Tensor each = log_probability(hidden, in.student_head.to(at::kDouble), in.labels);
  const Tensor apart = (each.slice(0, 0, 4, 2) - each.slice(0, 1, 4, 2)).mean();
  const Tensor wanted = -0.15 * torch::autograd::grad({apart}, {hidden})[0];
  EXPECT_LT((found.gradient - wanted).abs().max().item<double>(), 1e-5);
}

TEST(Dpo, TurnsItsMarginsWhereAnswersAreSwapped) {
  HeadInputs in = inputs();
  const Objective kd = objective("dpo = {}");
  const Outcome straight = run(kd, in);
  const Tensor order = at::tensor({1, 0, 3, 2, 5, 4}, at::kLong);
  for (Tensor* each : {&in.student_hidden, &in.teacher_hidden, &in.labels})
    *each = each->index_select(0, order);
  EXPECT_NEAR(run(kd, in).sums[1], -straight.sums[1], 1e-9);
}

TEST(Dpo, AddsToOtherTermsAndIsSplitOverMicroBatches) {
  const HeadInputs in = inputs();
  const Objective both = objective("loss = \"kl\"\ndpo = { weight = 0.5 }");
  EXPECT_EQ(both.term_names(),
            (std::vector<std::string>{"kl", "dpo", "dpo_margin", "dpo_accuracy"}));
  const Counts totals = both.counts(in.labels);
  const Outcome whole = run(both, in, totals);
  const Outcome kl = run(objective("loss = \"kl\""), in);
  const Outcome dpo = run(objective("dpo = {}"), in);
  EXPECT_NEAR(whole.loss, kl.loss + 0.5 * dpo.loss, 1e-9);
  const Tensor sum = kl.gradient + 0.5 * dpo.gradient;
  EXPECT_LT((whole.gradient - sum).abs().max().item<double>(), 1e-6);

  double parts = 0;
  for (int64_t row = 0; row < kRows; row += 2) {
    HeadInputs some = in;
    for (Tensor* each : {&some.student_hidden, &some.teacher_hidden, &some.labels})
      *each = each->narrow(0, row, 2);
    parts += run(both, some, totals).loss;
  }
  EXPECT_NEAR(parts, whole.loss, 1e-9);
}

TEST(Dpo, RefusesGroundTruthBesideItAndIsNoDefault) {
  EXPECT_FALSE(objective("").dpo().wanted());
  EXPECT_TRUE(objective("dpo = {}").needs_teacher());
  EXPECT_FALSE(objective("dpo = {}").takes_top_words());
  EXPECT_THROW(objective("loss = \"gt+kl\"\ndpo = {}"), recipes::UserError);
}

}  // namespace
}  // namespace sterna::distill
