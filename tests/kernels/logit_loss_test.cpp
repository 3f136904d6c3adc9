#include "kernels/logit_loss.h"

#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "tests/kernels/rows.h"

namespace sterna::kernels {
namespace {

using LogitLoss = EveryCpu;

/// Sizes below, at and above one vector and one block of vectors, dividing and not.
const std::vector<int64_t> kVocabularies{1, 2, 7, 16, 57, 1000, 2048, 4099};

struct Seen {
  float temperature, mixture;
};

template <class S, class T>
void expect_reference(CpuLevel level, int64_t vocab, int64_t label, Seen by = {1, 0}) {
  const auto student = as<S>(heavy_tailed(vocab, 1, 2));
  const auto teacher = as<T>(heavy_tailed(vocab, 2, 2));
  const LogitRow<S, T> row{
      student.data(), teacher.data(), vocab, label, by.temperature, by.mixture};
  const LogitStats got = logit_stats(row, level);
  const LogitStats want = logit_stats_reference(row);
  const auto near = [&](double a, double b, const char* what) {
    EXPECT_NEAR(a, b, 2e-6 * (1 + std::abs(b))) << what << " at V = " << vocab;
  };
  near(got.soft_ce, want.soft_ce, "soft_ce");
  near(got.kl, want.kl, "kl");
  near(got.label_ce, want.label_ce, "label_ce");
  near(got.teacher_label_ce, want.teacher_label_ce, "teacher_label_ce");
  near(got.reverse_kl, want.reverse_kl, "reverse_kl");
  near(got.student_to_mixture, want.student_to_mixture, "student_to_mixture");
  near(got.teacher_to_mixture, want.teacher_to_mixture, "teacher_to_mixture");

  const LogitPull pull{0.75f, 0.5f, by.mixture, by.mixture / 2};
  std::vector<S> gradient(static_cast<size_t>(vocab));
  std::vector<double> exact(static_cast<size_t>(vocab));
  logit_gradient(row, got, pull, gradient.data(), level);
  logit_gradient_reference(row, pull, exact.data());
  for (size_t v = 0; v < exact.size(); ++v) {
    EXPECT_NEAR(widen(gradient[v]), exact[v], 2e-6 * 1 + kRounding<S> * std::abs(exact[v]))
        << "word " << v << " of " << vocab;
  }
}

TEST_P(LogitLoss, AgreesWithTheDefinitionInDouble) {
  for (const int64_t vocab : kVocabularies) {
    expect_reference<float, float>(GetParam(), vocab, vocab / 2);
    expect_reference<float, Bf16>(GetParam(), vocab, vocab - 1);
    expect_reference<Bf16, float>(GetParam(), vocab, 0);
    expect_reference<Bf16, Bf16>(GetParam(), vocab, -1);
  }
}

TEST_P(LogitLoss, AgreesWithTheDefinitionAtOtherTemperaturesAndWithMixtures) {
  for (const int64_t vocab : kVocabularies) {
    for (const Seen by : {Seen{2, 0}, Seen{1, 0.5f}, Seen{0.7f, 0.1f}, Seen{10, 0.9f}}) {
      expect_reference<float, float>(GetParam(), vocab, vocab / 2, by);
      expect_reference<Bf16, Bf16>(GetParam(), vocab, vocab - 1, by);
    }
  }
}

TEST_P(LogitLoss, AMixtureWithATeacherThatRulesAWordOutStaysFinite) {
  // d = log p_t - log p_s runs from -3e4 to 3e4: both ends of the exponential.
  std::vector<float> student(100, 0.0f), teacher(100, 0.0f);
  student[3] = teacher[7] = 3e4f;
  const LogitRow<float, float> row{student.data(), teacher.data(), 100, 3, 1, 0.25f};
  const LogitStats stats = logit_stats(row, GetParam());
  EXPECT_NEAR(stats.student_to_mixture, -std::log(0.75), 1e-6);
  EXPECT_NEAR(stats.teacher_to_mixture, -std::log(0.25), 1e-6);
  EXPECT_NEAR(stats.reverse_kl, 3e4, 0.1);
  std::vector<float> gradient(100, 1.0f);
  logit_gradient(row, stats, {0, 0, 0, 1}, gradient.data(), GetParam());
  for (const float g : gradient)
    ASSERT_NEAR(g, 0, 1e-6);
}

TEST_P(LogitLoss, EqualRowsHaveNoDivergenceAndNoGradientToTheBit) {
  const auto logits = heavy_tailed(4099, 3, 4);
  const LogitRow<float, float> row{logits.data(), logits.data(), 4099, 5, 1.5f, 0.3f};
  const LogitStats stats = logit_stats(row, GetParam());
  EXPECT_EQ(stats.kl, 0.0);
  EXPECT_EQ(stats.reverse_kl, 0.0);
  EXPECT_EQ(stats.student_to_mixture, 0.0);
  EXPECT_EQ(stats.teacher_to_mixture, 0.0);
  EXPECT_GT(stats.soft_ce, 0.0);
  std::vector<float> gradient(logits.size(), 1.0f);
  logit_gradient(row, stats, {3.0f, 0.0f, 2.0f, 5.0f}, gradient.data(), GetParam());
  for (const float g : gradient)
    ASSERT_EQ(g, 0.0f);
}

TEST_P(LogitLoss, KlOfNearlyEqualRowsIsGoodTo1e7Nats) {
  // The teacher moved by 1e-3 along noise: KL is about 7e-6, soft_ce about 11.
  const auto student = heavy_tailed(49152, 4, 0.1f);
  auto teacher = student;
  const auto noise = heavy_tailed(49152, 5, 1e-3f);
  for (size_t v = 0; v < teacher.size(); ++v)
    teacher[v] += noise[v];
  const LogitRow<float, float> row{student.data(), teacher.data(), 49152, -1};
  const LogitStats want = logit_stats_reference(row);
  const LogitStats got = logit_stats(row, GetParam());
  EXPECT_GT(want.kl, 1e-6);
  EXPECT_NEAR(got.kl, want.kl, 1e-7);
  EXPECT_NEAR(got.reverse_kl, want.reverse_kl, 1e-7);
}

TEST_P(LogitLoss, TheGradientMayOverwriteTheStudentsRow) {
  auto student = as<Bf16>(heavy_tailed(1003, 6, 2));
  const auto teacher = as<Bf16>(heavy_tailed(1003, 7, 2));
  const auto kept = student;
  const LogitRow<Bf16, Bf16> apart{kept.data(), teacher.data(), 1003, 17};
  const LogitRow<Bf16, Bf16> in_place{student.data(), teacher.data(), 1003, 17};
  const LogitStats stats = logit_stats(apart, GetParam());
  std::vector<Bf16> want(student.size());
  logit_gradient(apart, stats, {1.0f, 2.0f}, want.data(), GetParam());
  logit_gradient(in_place, stats, {1.0f, 2.0f}, student.data(), GetParam());
  for (size_t v = 0; v < want.size(); ++v)
    ASSERT_EQ(student[v].bits, want[v].bits) << "word " << v;
}

TEST_P(LogitLoss, WithoutATeacherOnlyTheLabelCounts) {
  const auto student = heavy_tailed(333, 8, 2);
  const LogitRow<float, float> row{student.data(), nullptr, 333, 44};
  const LogitStats stats = logit_stats(row, GetParam());
  EXPECT_NEAR(stats.label_ce, logit_stats_reference(row).label_ce, 1e-5);
  EXPECT_EQ(stats.soft_ce, 0.0);
  std::vector<float> gradient(333);
  std::vector<double> want(333);
  logit_gradient(row, stats, {1.0f, 2.0f}, gradient.data(), GetParam());
  logit_gradient_reference(row, {1.0f, 2.0f}, want.data());
  for (size_t v = 0; v < want.size(); ++v)
    ASSERT_NEAR(gradient[v], want[v], 1e-6) << "word " << v;
}

TEST_P(LogitLoss, HugeLogitsStayFiniteAndNanShows) {
  std::vector<float> student(100, -3e4f), teacher(100, 2e4f);
  student[3] = 3e4f;
  const LogitRow<float, float> row{student.data(), teacher.data(), 100, 3};
  const LogitStats stats = logit_stats(row, GetParam());
  EXPECT_NEAR(stats.label_ce, 0.0, 1e-12);
  EXPECT_NEAR(stats.soft_ce, 0.99 * 6e4, 0.1);
  student[50] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(std::isnan(logit_stats(row, GetParam()).soft_ce));
}

STERNA_ON_EVERY_CPU(LogitLoss);

}  // namespace
}  // namespace sterna::kernels
