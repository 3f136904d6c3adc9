// Every divergence written out with whole tensors in double, through the chunked head pass, with
// temperatures, and together with terms that look at the logits otherwise.

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/distill/objectives.h"

namespace sterna::distill {
namespace {

HeadInputs some_inputs() {
  at::manual_seed(17);
  // The oracle multiplies in double, we in float: logits of hundreds would differ by 1e-5 alone.
  HeadInputs in{heavy_tailed({2, 12, 10}, 0.5),
                heavy_tailed({91, 10}, 0.3),
                heavy_tailed({2, 12, 14}, 0.5),
                heavy_tailed({91, 14}, 0.3),
                at::randint(0, 91, {2, 12}, at::kLong)};
  in.labels[1].slice(0, 3, 7).fill_(kIgnoreLabel);
  return in;
}

/// Log probabilities at a temperature, of the labelled tokens.
using Formula = std::function<Tensor(const Tensor& student, const Tensor& teacher)>;

struct Form {
  std::string recipe;
  double temperature;
  Formula per_token;
};

Tensor jsd(const Tensor& student, const Tensor& teacher, double beta) {
  const Tensor mixed = (beta * teacher.exp() + (1 - beta) * student.exp()).log();
  return beta * kl(teacher, mixed) + (1 - beta) * kl(student, mixed);
}

std::vector<Form> forms() {
  const auto named = [](const std::string& name, const std::string& more) {
    return "{ name = \"" + name + "\"" + more + " }";
  };
  std::vector<Form> all;
  for (const double t : {1.0, 2.5}) {
    const std::string at_t = ", temperature = " + std::to_string(t);
    all.push_back({named("kl", at_t), t, [](auto& s, auto& q) { return kl(q, s); }});
    all.push_back(
        {named("soft_ce", at_t), t, [](auto& s, auto& q) { return -(q.exp() * s).sum(-1); }});
    all.push_back({named("reverse_kl", at_t), t, [](auto& s, auto& q) { return kl(s, q); }});
    all.push_back({named("cakld", at_t + ", beta = 0.3"), t, [](auto& s, auto& q) {
                     return 0.3 * kl(s, q) + 0.7 * kl(q, s);
                   }});
    all.push_back({named("jsd", at_t), t, [](auto& s, auto& q) { return jsd(s, q, 0.5); }});
    all.push_back(
        {named("jsd", at_t + ", beta = 0.1"), t, [](auto& s, auto& q) { return jsd(s, q, 0.1); }});
  }
  return all;
}

Oracle oracle(const HeadInputs& in, const std::vector<Form>& terms, double ground_truth) {
  const Tensor hidden = in.student_hidden.to(at::kDouble).requires_grad_();
  const Tensor head = in.student_head.to(at::kDouble).requires_grad_();
  const Tensor student = at::matmul(hidden, head.t());
  const Tensor teacher =
      at::matmul(in.teacher_hidden.to(at::kDouble), in.teacher_head.to(at::kDouble).t());
  const Tensor labelled = in.labels >= 0;
  Tensor loss = at::zeros({}, at::kDouble);
  for (const Form& term : terms) {
    const double t = term.temperature;
    const Tensor each =
        term.per_token((student / t).log_softmax(-1), (teacher / t).log_softmax(-1));
    loss = loss + t * t * each.masked_select(labelled).mean();
  }
  if (ground_truth > 0) {
    const Tensor index = in.labels.clamp_min(0).unsqueeze(-1);
    const Tensor ce = -student.log_softmax(-1).gather(2, index).squeeze(-1);
    loss = loss + ground_truth * ce.masked_select(labelled).mean();
  }
  const auto grads = torch::autograd::grad({loss}, {hidden, head});
  return {loss.item<double>(), grads[0], grads[1]};
}

void expect_agreement(const std::vector<Form>& terms, double ground_truth) {
  const HeadInputs in = some_inputs();
  const Oracle want = oracle(in, terms, ground_truth);
  std::string text = "loss = [";
  for (const Form& term : terms)
    text += term.recipe + ", ";
  if (ground_truth > 0)
    text += "{ name = \"gt\", weight = " + std::to_string(ground_truth) + " }";
  for (const std::string chunk : {"0", "1", "5", "24"}) {
    const Tensor head_grad = at::zeros({91, 10});
    const std::string recipe = text + "]\nchunk = " + chunk;
    const Outcome got = run(objective(recipe), in, {}, head_grad);
    const auto off = [](const Tensor& a, const Tensor& b) {
      return ((a.to(at::kDouble) - b).abs().max() / b.abs().max()).item<double>();
    };
    EXPECT_NEAR(got.loss, want.loss, 1e-5 * want.loss) << recipe;
    EXPECT_LT(off(got.gradient, want.d_hidden), 1e-5) << recipe;
    EXPECT_LT(off(head_grad, want.d_head), 1e-5) << recipe;
  }
}

TEST(DivergenceOracle, EachAgreesWithWholeTensorsInDouble) {
  for (const Form& form : forms())
    expect_agreement({form}, 0);
}

TEST(DivergenceOracle, TermsWithDifferentViewsOfTheLogitsAddUp) {
  const std::vector<Form> all = forms();
  for (size_t i = 0; i + 3 < all.size(); ++i)
    expect_agreement({all[i], all[(i + 5) % all.size()], all[(i + 8) % all.size()]}, 0.5);
}

TEST(DivergenceOracle, TokenWeightsAreTheTeachersAtTemperatureOne) {
  // TSLD's weights come from the label, whatever the divergence divides the logits by.
  const HeadInputs in = some_inputs();
  const auto weighted = [](const std::string& more) {
    return objective("loss = { name = \"kl\", weighting = \"tsld\"" + more + " }");
  };
  const Outcome whole = run(weighted(", temperature = 2.0"), in);
  for (const std::string chunk : {"1", "5"}) {
    Objective split = objective(
        "loss = { name = \"kl\", weighting = \"tsld\", temperature = 2.0 }\nchunk = " + chunk);
    const Outcome part = run(split, in);
    EXPECT_NEAR(part.loss, whole.loss, 1e-6 * whole.loss);
    EXPECT_TRUE(at::allclose(part.gradient, whole.gradient, 1e-4, 1e-6));
  }
  const Tensor index = in.labels.clamp_min(0).unsqueeze(-1);
  const Tensor student = at::matmul(in.student_hidden, in.student_head.t()).to(at::kDouble);
  const Tensor teacher = at::matmul(in.teacher_hidden, in.teacher_head.t()).to(at::kDouble);
  const Tensor hard = -teacher.log_softmax(-1).gather(2, index).squeeze(-1) / 10;
  const Tensor labelled = in.labels >= 0;
  const Tensor weights = hard.masked_fill(~labelled, -1e30).softmax(-1) * labelled;
  const Tensor each = 4 * kl((teacher / 2).log_softmax(-1), (student / 2).log_softmax(-1));
  const double want = (weights * each).sum().item<double>() / 2;
  EXPECT_NEAR(whole.loss, want, 1e-5 * want);
}

TEST(DivergenceOracle, AnUnmeasuredBetaIsRefused) {
  Objective loss = objective("loss = { name = \"cakld\", beta_batches = 3 }");
  EXPECT_EQ(loss.batches_to_measure(), 3);
  EXPECT_THROW(run(loss, some_inputs()), c10::Error);
  loss.set_confidence(0.25);
  const Outcome measured = run(loss, some_inputs());
  const Outcome given = run(objective("loss = { name = \"cakld\", beta = 0.25 }"), some_inputs());
  EXPECT_EQ(measured.loss, given.loss);
  EXPECT_EQ(objective("loss = \"kl\"").batches_to_measure(), 0);
}

}  // namespace
}  // namespace sterna::distill
