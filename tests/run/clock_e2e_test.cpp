// A wall clock that jumps by years in the middle of a run changes nothing but what is dated by it.
#include <cmath>
#include <regex>

#include "tests/run/train_fixture.h"
#include "tests/support/event_file.h"

namespace sterna::tests {
namespace {

using nlohmann::json;

class Clock : public Training {
 protected:
  int train_by_a_jumping_clock(const std::vector<std::string>& more) {
    const std::filesystem::path clock = binary_dir() / "libjumping_clock.so";
    if (!std::filesystem::exists(clock)) {
      ADD_FAILURE() << clock << " is not there";
      return -1;
    }
    Program program(arguments("r", more), folder_ / "output.txt", [&] {
      setenv("LD_PRELOAD", clock.c_str(), 1);
    });
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  void expect_sane_line(const std::string& text) {
    const json line = json::parse(text);
    for (const auto& [key, value] : line.items()) {
      const bool time = key.ends_with("_ms");
      if (!time && key != "tokens_per_s")
        continue;
      ASSERT_TRUE(value.is_number()) << key << " is " << value;
      EXPECT_GE(value.get<double>(), 0) << key;
      EXPECT_LT(value.get<double>(), time ? 6e5 : 1e9) << key;
    }
    EXPECT_GT(line.at("tokens_per_s").get<double>(), 0);
  }

  void expect_sane_etas(size_t lines) {
    const std::regex eta("eta (\\S+)");
    size_t found = 0;
    for (std::sregex_iterator at(output_.begin(), output_.end(), eta), end; at != end;
         ++at, ++found)
      EXPECT_TRUE(std::regex_match((*at)[1].str(), std::regex("\\?|[0-9]{1,2}:[0-9]{2}")))
          << (*at)[1];
    EXPECT_GE(found, lines) << output_;
  }
};

TEST_F(Clock, JumpsSpoilNeitherTimesNorRatesNorNamesNorWeights) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "AddressSanitizer's library wants to be loaded first";
#endif
  ASSERT_EQ(train_by_a_jumping_clock({"train.steps=10", "train.log_every=1"}), 0) << output_;
  expect_sane_etas(10);
  for (const int steps : {15, 20})
    ASSERT_EQ(train_by_a_jumping_clock({"train.steps=" + std::to_string(steps), "--resume"}), 0)
        << output_;
  std::istringstream log(io::read_text(run_folder("r") / "log.jsonl"));
  int64_t steps = 0;
  for (std::string line; std::getline(log, line); ++steps)
    expect_sane_line(line);
  EXPECT_EQ(steps, 20);
  // The files' names keep the order in which they were begun.
  size_t raw = 0;
  int64_t next = 0;
  for (const Event& event : shown_events(run_folder("r") / "tensorboard", raw)) {
    if (event.scalars.count("loss") != 0) {
      EXPECT_EQ(event.step, ++next);
    }
  }
  EXPECT_EQ(next, 20);
  ASSERT_EQ(train("straight", {"train.steps=10"}), 0) << output_;
  for (const int more : {15, 20})
    ASSERT_EQ(train("straight", {"train.steps=" + std::to_string(more), "--resume"}), 0) << output_;
  EXPECT_EQ(hashes("r", "step-20"), hashes("straight", "step-20"));
}

}  // namespace
}  // namespace sterna::tests
