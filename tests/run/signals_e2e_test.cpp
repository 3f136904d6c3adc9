// What a signal does in each stage: how the program ends, what it leaves, and that a resumed run
// has the weights of one that nobody stopped.
#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

using namespace std::chrono_literals;

class Signals : public Training {
 protected:
  /// Starts a run, sends SIGTERM `delay` after its output holds `mark`, expects the orderly end.
  void stop_at(const std::string& mark,
               std::chrono::milliseconds delay,
               const std::vector<std::string>& more) {
    Program program(arguments("stopped", more), folder_ / "output.txt");
    ASSERT_TRUE(program.says(mark)) << program.output();
    std::this_thread::sleep_for(delay);
    program.signal(SIGTERM);
    EXPECT_EQ(program.wait(), 3) << program.output();
    EXPECT_NE(program.output().find("asked to stop (SIGTERM): saved "), std::string::npos)
        << program.output();
  }

  void resume(std::vector<std::string> more) {
    more.push_back("--resume");
    ASSERT_EQ(train("stopped", more), 0) << output_;
  }
};

// Long enough that the signal arrives inside: two blocks of about half a second.
const std::vector<std::string> kBlockwise{
    "quant.weight={ name = \"affine_learned\", bits = 2, group = 16 }",
    "blockwise.samples=32",
    "blockwise.batch=2",
    "blockwise.epochs=10",
    "blockwise.checkpoint_every=0",
    "train.steps=2"};

TEST_F(Signals, SigtermInTheSecondBlockSavesTheFirstAndTheRunIsContinuedToTheSameWeights) {
  ASSERT_NO_FATAL_FAILURE(stop_at("block 1/2", 100ms, kBlockwise));
  EXPECT_EQ(checkpoints("stopped"), std::vector<std::string>{"block-1"});
  ASSERT_NO_FATAL_FAILURE(resume(kBlockwise));
  ASSERT_EQ(train("straight", kBlockwise), 0) << output_;
  const std::string wanted = hashes("straight", "step-2");
  ASSERT_NE(wanted.find("quant"), std::string::npos);
  EXPECT_EQ(hashes("stopped", "step-2"), wanted);
}

TEST_F(Signals, SigtermBetweenStepsSavesTheLastCompleteOneAndTheRunIsContinuedToTheSameWeights) {
  std::vector<std::string> more{
      "train.schedule=constant", "train.checkpoint_every=0", "train.steps=100000"};
  ASSERT_NO_FATAL_FAILURE(stop_at("step 1/", 20ms, more));
  ASSERT_EQ(checkpoints("stopped").size(), 1u);
  const int64_t done = std::stoll(checkpoints("stopped").front().substr(5));
  EXPECT_GE(done, 1);
  more.back() = "train.steps=" + std::to_string(done + 2);
  ASSERT_NO_FATAL_FAILURE(resume(more));
  ASSERT_EQ(train("straight", more), 0) << output_;
  const std::string last = "step-" + std::to_string(done + 2);
  EXPECT_EQ(hashes("stopped", last), hashes("straight", last));
}

TEST_F(Signals, ASecondSignalStopsAtOnceAndSavesNothing) {
  Program program(arguments("twice", {"train.steps=100000", "train.checkpoint_every=0"}),
                  folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 1/")) << program.output();
  // Both are waiting when the program goes on: it has no instant to obey the first.
  program.signal(SIGSTOP);
  program.signal(SIGTERM);
  program.signal(SIGINT);
  program.signal(SIGCONT);
  const int code = program.wait();
  EXPECT_TRUE(code == 128 + SIGTERM || code == 128 + SIGINT) << code;
  EXPECT_EQ(program.output().find("saved"), std::string::npos) << program.output();
  EXPECT_TRUE(checkpoints("twice").empty()) << program.output();
}

TEST_F(Signals, HelpNamesTheirExitCodes) {
  Program program({"train", "--help"}, folder_ / "output.txt");
  EXPECT_EQ(program.wait(), 0);
  for (const char* code : {"exits with 3", "130 (SIGINT)", "143 (SIGTERM)"})
    EXPECT_NE(program.output().find(code), std::string::npos) << code << "\n" << program.output();
}

}  // namespace
}  // namespace sterna::tests
