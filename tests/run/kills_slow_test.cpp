// kill -9 at random instants of a run that saves every step, $STERNA_KILLS times: after each the
// newest checkpoint is whole, and every run that gets to its end has the weights of one that nobody
// touched.
#include <cstdlib>
#include <iostream>
#include <random>

#include "tests/run/train_fixture.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

const std::vector<std::string> kOften{
    "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
    "blockwise.samples=4",
    "blockwise.batch=2",
    "blockwise.checkpoint_every=1",
    "train.steps=60",
    "train.accumulate=1",
    "train.checkpoint_every=1",
    "train.keep_last=2",
    "train.ema=0.9"};

int wanted_kills() {
  const char* text = std::getenv("STERNA_KILLS");
  return text == nullptr ? 60 : std::atoi(text);
}

class Kills : public Training {
 protected:
  void SetUp() override {
    Training::SetUp();
    const auto start = Clock::now();
    ASSERT_EQ(train("straight", kOften), 0) << output_;
    whole_ms_ = static_cast<int>(
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count());
    wanted_ = hashes("straight", "step-60");
    ASSERT_NE(wanted_.find("quant"), std::string::npos);
    ASSERT_NE(wanted_.find("ema"), std::string::npos);
  }

  /// @return  whether the program was killed; false: it came to its end before
  bool start_and_kill(int delay_ms) {
    std::vector<std::string> all = kOften;
    if (fs::exists(run_folder("killed") / "recipe.toml"))
      all.push_back("--resume");
    Program program(arguments("killed", all), folder_ / "output.txt");
    std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    program.signal(SIGKILL);
    const int code = program.wait();
    output_ = program.output();
    EXPECT_TRUE(code == 0 || code == 128 + SIGKILL) << output_;
    return code != 0;
  }

  /// The newest checkpoint can be read, and none that is newer cannot.
  void expect_readable() {
    std::vector<std::string> torn;
    const fs::path newest = model::newest_checkpoint(run_folder("killed"), torn);
    for (const std::string& message : torn)
      ADD_FAILURE() << message;
    if (newest.empty())
      return;
    ++checked_;
    const model::Manifest manifest = model::read_manifest(newest);
    for (const char* kind : {"master", "quant", "buffer", "moment1", "moment2", "ema"})
      EXPECT_NO_THROW(model::read_kind(newest, manifest, kind)) << newest << " " << kind;
  }

  int whole_ms_ = 0;  ///< of the run that nobody touches
  int checked_ = 0;
  std::string wanted_;
};

TEST_F(Kills, NoCheckpointIsEverUnreadableAndTheWeightsAreThoseOfTheStraightRun) {
  std::mt19937 random(20261121);
  int kills = 0;
  int finished = 0;
  while (kills < wanted_kills() && !HasFailure()) {
    // Few come near the end, so that most instants lie within the run's own work.
    const int delay = whole_ms_ / 8 + static_cast<int>(random() % (whole_ms_ / 2 + 1));
    if (start_and_kill(delay)) {
      ++kills;
      expect_readable();
      continue;
    }
    ++finished;
    EXPECT_EQ(hashes("killed", "step-60"), wanted_);
    fs::remove_all(run_folder("killed"));
  }
  std::vector<std::string> last = kOften;
  if (fs::exists(run_folder("killed") / "recipe.toml"))
    last.push_back("--resume");
  ASSERT_EQ(train("killed", last), 0) << output_;
  EXPECT_EQ(hashes("killed", "step-60"), wanted_);
  EXPECT_GT(checked_, kills / 4) << "most kills came before there was anything to lose";
  std::cout << kills << " kills, " << checked_ << " with a checkpoint to read, " << finished + 1
            << " runs that came to their end\n";
}

}  // namespace
}  // namespace sterna::tests
