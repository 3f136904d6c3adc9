// Bytes on the wire, counted by the card that carries them.
#include "tests/run/wire_fixture.h"

namespace sterna::tests {
namespace {

TEST_F(Wire, CarriesInAStepWhatTheFormulasSay) {
  if (!network_.made())
    GTEST_SKIP() << "no network namespace: that needs root and iproute2";
  for (const int64_t ranks : {2, 4}) {
    for (const std::string strategy : {"ddp", "zero1", "zero2", "zero3"}) {
      const double found = sent_in_a_step(ranks, keys(ranks, strategy));
      expect_bytes(found, ranks, strategy);
      std::filesystem::remove_all(folder_.path() / "runs");
    }
  }
}

TEST_F(Wire, CarriesHalfTheBytesOfGradientsInBf16) {
  if (!network_.made())
    GTEST_SKIP() << "no network namespace: that needs root and iproute2";
  for (const std::string strategy : {"ddp", "zero2"}) {
    std::vector<std::string> rounded = keys(2, strategy);
    rounded.emplace_back("dist.reduce_dtype=bf16");
    expect_bytes(sent_in_a_step(2, rounded), 2, strategy, /*rounded=*/true);
    const std::vector<double> found = losses("many");
    std::filesystem::remove_all(folder_.path() / "runs");
    std::vector<std::string> alone = keys(2, "ddp");
    alone.emplace_back("train.steps=6");
    ASSERT_EQ(train("one", alone), 0) << output_;
    const std::vector<double> wanted = losses("one");
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i)
      EXPECT_NEAR(found[i], wanted[i], 2e-3 * wanted[i]) << strategy << ", step " << i + 1;
    std::filesystem::remove_all(folder_.path() / "runs");
  }
}

}  // namespace
}  // namespace sterna::tests
