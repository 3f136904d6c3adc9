// A teacher of which only the likeliest words are known, against the buckets written out.
#include "distill/top_words.h"

#include <limits>

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/distill/objectives.h"

namespace sterna::distill {
namespace {

constexpr int64_t kSequences = 2, kLength = 7, kWidth = 12, kVocab = 61;

struct Case {
  HeadInputs in;
  Tensor teacher;  // logits
};

Case make_case(int64_t k) {
  at::manual_seed(5);
  Case c;
  c.in.student_hidden = heavy_tailed({kSequences, kLength, kWidth});
  c.in.student_head = heavy_tailed({kVocab, kWidth}, 0.2);
  c.in.labels = at::randint(0, kVocab, {kSequences, kLength}, at::kLong);
  c.in.labels[1].slice(0, 4).fill_(kIgnoreLabel);
  c.teacher = heavy_tailed({kSequences * kLength, kVocab});
  const TopWords top = top_words(c.teacher, k);
  c.in.teacher_top = {top.ids.view({kSequences, kLength, k}),
                      top.log_p.view({kSequences, kLength, k + 1})};
  return c;
}

/// log probabilities of K words and of the rest as one, in double.
Tensor buckets(const Tensor& log_p, const Tensor& ids) {
  const Tensor chosen = log_p.gather(1, ids);
  const double nothing = -std::numeric_limits<double>::infinity();
  const Tensor rest = log_p.scatter(1, ids, nothing).logsumexp({1}, /*keepdim=*/true);
  return at::cat({chosen, rest}, 1);
}

using OfBuckets = Tensor (*)(const Tensor& p, const Tensor& q);  // of logs [N, K + 1] -> [N]

Tensor reverse(const Tensor& p, const Tensor& q) {
  return kl(q, p);
}
Tensor jensen_shannon(const Tensor& p, const Tensor& q) {
  const Tensor c = at::log(0.5 * p.exp() + 0.5 * q.exp());
  return 0.5 * kl(p, c) + 0.5 * kl(q, c);
}
Tensor mixed(const Tensor& p, const Tensor& q) {
  return 0.3 * kl(q, p) + 0.7 * kl(p, q);
}

void expect_agrees(const std::string& loss, OfBuckets formula) {
  for (const int64_t k : {1, 5, 40}) {
    const Case c = make_case(k);
    const Tensor head_grad = at::zeros({kVocab, kWidth});
    const Outcome found = run(objective(loss), c.in, {}, head_grad);

    const Tensor hidden = c.in.student_hidden.to(at::kDouble).requires_grad_();
    const Tensor head = c.in.student_head.to(at::kDouble).requires_grad_();
    const Tensor student = at::matmul(hidden.view({-1, kWidth}), head.t()).log_softmax(1);
    const Tensor teacher = c.teacher.to(at::kDouble).log_softmax(1);
    const Tensor ids = c.in.teacher_top.ids.view({-1, k});
    const Tensor each = formula(buckets(teacher, ids), buckets(student, ids));
    const Tensor wanted = each.masked_select(c.in.labels.view(-1) >= 0).mean();
    const auto grads = torch::autograd::grad({wanted}, {hidden, head});
    EXPECT_NEAR(found.loss, wanted.item<double>(), 1e-5) << loss << ", " << k << " words";
    EXPECT_LT((found.gradient - grads[0]).abs().max().item<double>(), 1e-5) << loss << " " << k;
    EXPECT_LT((head_grad - grads[1]).abs().max().item<double>(), 2e-5) << loss << " " << k;
  }
}

TEST(TopWords, DivergencesAreThoseOfTheWordsAndOneRest) {
  expect_agrees("loss = \"kl\"", kl);
  expect_agrees("loss = \"reverse_kl\"", reverse);
  expect_agrees("loss = [{ name = \"jsd\", beta = 0.5 }]", jensen_shannon);
  expect_agrees("loss = [{ name = \"cakld\", beta = 0.3 }]", mixed);
}

TEST(TopWords, OfAllWordsButOneAreTheWholeTeacher) {
  const Case c = make_case(kVocab - 1);
  HeadInputs whole = c.in;
  whole.teacher_top = {};
  whole.teacher_hidden = c.teacher.view({kSequences, kLength, kVocab});
  whole.teacher_head = at::eye(kVocab);
  const Objective kd = objective("loss = \"kl+gt\"\nchunk = 3");
  const Outcome top = run(kd, c.in);
  const Outcome all = run(kd, whole);
  EXPECT_NEAR(top.loss, all.loss, 1e-5);
  EXPECT_LT((top.gradient - all.gradient).abs().max().item<double>(), 1e-5);
}

TEST(TopWords, ATeacherThatIsSureLeavesARestOfNothingAndNoNaN) {
  const Tensor logits = at::zeros({1, 4});
  logits[0][2] = 200.0;
  const TopWords top = top_words(logits, 1);
  EXPECT_EQ(top.ids.item<int64_t>(), 2);
  Tensor spread = at::empty({1, 4});
  spread_rest(top, at::randn({1, 4}), spread);
  EXPECT_TRUE(spread.isfinite().all().item<bool>());
  EXPECT_NEAR(spread.exp().sum().item<double>(), 1, 1e-6);
}

TEST(TopWords, ServeTermsThatAskNoMoreOfTheTeacher) {
  for (const char* good : {"\"kl\"", "\"gt+reverse_kl\"", "[{ name = \"jsd\" }]"})
    EXPECT_TRUE(objective(std::string("loss = ") + good).takes_top_words()) << good;
  for (const char* bad : {"\"tsld\"",
                          "\"soft_ce\"",
                          "[{ name = \"kl\", temperature = 2.0 }]",
                          "[{ name = \"gt\", weighting = \"tsld\" }]"})
    EXPECT_FALSE(objective(std::string("loss = ") + bad).takes_top_words()) << bad;
}

}  // namespace
}  // namespace sterna::distill
