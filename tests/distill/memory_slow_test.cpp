// Peak memory of the loss on a real vocabulary: what the process grows by, everything counted
// (logits, scratch of the matrix products, results).

#include <chrono>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/distill/objectives.h"

namespace sterna::distill {
namespace {

constexpr int64_t kBatch = 4, kLength = 512, kVocab = 49152, kWidth = 576;

/// "VmHWM" or "VmRSS" of this process in bytes.
int64_t resident(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) == 0)
      return std::stoll(line.substr(field.size() + 1)) * 1024;
  }
  return 0;
}

/// Sets the high-water mark back to what is resident now.
bool reset_peak() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

struct Case {
  std::string name, loss;
  at::ScalarType type;
  bool head_trained;
};

class LossMemory : public testing::TestWithParam<Case> {};

TEST_P(LossMemory, StaysBelow300MegabytesFor2048TokensOf49152Words) {
  const Case& c = GetParam();
  at::manual_seed(1);
  const auto made = [&](at::IntArrayRef shape, double scale) {
    return (at::randn(shape) * scale).to(c.type);
  };
  const HeadInputs in{made({kBatch, kLength, kWidth}, 1),
                      made({kVocab, kWidth}, 0.1),
                      made({kBatch, kLength, kWidth}, 1),
                      made({kVocab, kWidth}, 0.1),
                      at::randint(0, kVocab, {kBatch, kLength}, at::kLong)};
  const Tensor head_grad = c.head_trained ? at::zeros({kVocab, kWidth}) : Tensor();
  const Objective loss =
      objective(c.loss.empty() ? "loss = [{ name = \"kl\", temperature = 2.0 }, { name = \"gt\" }]"
                               : "loss = \"" + c.loss + "\"");
  const Counts counts = loss.counts(in.labels);
  if (!reset_peak())
    GTEST_SKIP() << "/proc/self/clear_refs cannot be written";
  const int64_t before = resident("VmRSS");
  const auto start = std::chrono::steady_clock::now();
  const HeadResult result = loss.run(in, counts, head_grad);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const int64_t peak = resident("VmHWM") - before;
  std::printf("%s: peak %.1f MB, %.2f s\n", c.name.c_str(), peak / 1e6, took.count());
  EXPECT_TRUE(result.d_hidden.isfinite().all().item<bool>());
  EXPECT_GT(peak, 50'000'000);  // the measure sees at least the logits of one chunk
  EXPECT_LE(peak, 300'000'000);
}

INSTANTIATE_TEST_SUITE_P(Cases,
                         LossMemory,
                         testing::Values(Case{"kl_bf16", "kl", at::kBFloat16, false},
                                         Case{"tsld_bf16", "tsld", at::kBFloat16, false},
                                         Case{
                                             "reverse_kl_bf16", "reverse_kl", at::kBFloat16, false},
                                         Case{"jsd_bf16", "jsd", at::kBFloat16, false},
                                         Case{"two_views_bf16", "", at::kBFloat16, false},
                                         Case{"tsld_fp32", "tsld", at::kFloat, false},
                                         Case{"kl_bf16_head", "kl", at::kBFloat16, true}),
                         [](const auto& p) { return p.param.name; });

}  // namespace
}  // namespace sterna::distill
