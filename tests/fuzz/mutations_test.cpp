// Every parser under random damage. $STERNA_FUZZ_COUNT raises the number of mutations of each
// target, $STERNA_FUZZ_NUMBER chooses others.
#include <cstdlib>
#include <iostream>

#include <gtest/gtest.h>

#include "tests/fuzz/campaign.h"
#include "tests/support/temp_folder.h"

namespace sterna::tests::fuzz {

/// For GoogleTest's messages.
void PrintTo(const Target& target, std::ostream* out) {
  *out << target.name;
}

namespace {

int64_t setting(const char* name, int64_t fallback) {
  const char* text = std::getenv(name);
  return text == nullptr ? fallback : std::atoll(text);
}

class Mutations : public testing::TestWithParam<Target> {};

TEST_P(Mutations, TheSeedsAreAccepted) {
  for (const std::string& seed : GetParam().seeds())
    EXPECT_TRUE(GetParam().feed(seed)) << seed.substr(0, 300);
}

TEST_P(Mutations, NothingIsAcceptedThatIsEmptyOrNoise) {
  const bool text = GetParam().name == "recipe" || GetParam().name == "chat_template";
  EXPECT_FALSE(GetParam().feed("") && !text);  // an empty one is one
  EXPECT_FALSE(GetParam().feed(std::string(300, '\xfe')));
}

TEST_P(Mutations, DamageIsReadOrRefusedInTimeAndInLittleMemory) {
  const int64_t count = setting("STERNA_FUZZ_COUNT", 1500);
  const auto number = static_cast<uint64_t>(setting("STERNA_FUZZ_NUMBER", 1));
  const std::filesystem::path fault =
      std::filesystem::temp_directory_path() /
      ("sterna-fuzz-" + GetParam().name + "-" + std::to_string(number));
  const Outcome outcome = run_campaign(GetParam(), count, number, fault);
  EXPECT_EQ(outcome.failure, "") << "the input is " << fault;
  EXPECT_EQ(outcome.accepted + outcome.refused, count);
  EXPECT_GT(outcome.refused, count / 10);
  std::cout << GetParam().name << ": " << outcome.accepted << " accepted, " << outcome.refused
            << " refused; at most " << outcome.most_bytes / 1024 << " KiB and "
            << 1e3 * outcome.most_seconds << " ms\n";
}

INSTANTIATE_TEST_SUITE_P(All, Mutations, testing::ValuesIn(targets()), [](const auto& each) {
  return each.param.name;
});

}  // namespace
}  // namespace sterna::tests::fuzz
