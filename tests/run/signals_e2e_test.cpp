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
    "blockwise.epochs=100",
    "blockwise.checkpoint_every=0",
    "train.steps=2"};

TEST_F(Signals, SigtermInTheSecondBlockSavesTheFirstAndTheRunIsContinuedToTheSameWeights) {
  ASSERT_NO_FATAL_FAILURE(stop_at("block 1/2", 0ms, kBlockwise));
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

TEST_F(Signals, SigtermInTheFirstStepOfFewerBitsIsContinuedToTheSameWeights) {
  // A stage ends behind step 1, and step 2 is long.
  const std::vector<std::string> more{
      "quant.stage=[{ until = 1, weight = { name = "
      "\"affine_learned\", bits = 4, group = 4 } }]",
      "train.accumulate=150",
      "train.checkpoint_every=0",
      "train.steps=2"};
  ASSERT_NO_FATAL_FAILURE(stop_at("weights are rounded anew", 0ms, more));
  ASSERT_EQ(checkpoints("stopped"), std::vector<std::string>{"step-1"});
  ASSERT_NO_FATAL_FAILURE(resume(more));
  ASSERT_EQ(train("straight", more), 0) << output_;
  EXPECT_EQ(hashes("stopped", "step-2"), hashes("straight", "step-2"));
}

/// Evaluations that last for a second, one window at a time.
std::vector<std::string> long_evaluation(const std::filesystem::path& text) {
  return {"eval.text=" + text.string(), "eval.window=8", "eval.batch=1", "train.steps=4"};
}

TEST_F(Signals, SigtermInTheFirstEvaluationTrainsNothingAndItIsMadeUpFor) {
  write_text_file(folder_ / "long.txt", tiny_text(600));
  std::vector<std::string> more = long_evaluation(folder_ / "long.txt");
  Program program(arguments("stopped", more), folder_ / "output.txt");
  ASSERT_TRUE(program.says("memory")) << program.output();
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_NE(program.output().find("nothing is trained yet; --resume continues"), std::string::npos)
      << program.output();
  EXPECT_TRUE(checkpoints("stopped").empty());
  more.push_back("eval.max_windows=4");
  ASSERT_NO_FATAL_FAILURE(resume(more));
  for (const char* cell : {"full-precision", "ptq", "step-4"})
    EXPECT_TRUE(std::filesystem::exists(run_folder("stopped") / "eval" /
                                        (std::string(cell) + ".long.txt.json")))
        << cell;
}

TEST_F(Signals, SigtermInAnEvaluationOnTheWaySavesTheStepAndItIsMadeUpFor) {
  write_text_file(folder_ / "long.txt", tiny_text(600));
  std::vector<std::string> more = long_evaluation(folder_ / "long.txt");
  more.insert(more.end(), {"eval.before=false", "eval.every=2", "train.log_every=1"});
  ASSERT_NO_FATAL_FAILURE(stop_at("step 2/4", 20ms, more));
  EXPECT_EQ(checkpoints("stopped"), std::vector<std::string>{"step-2"});
  const auto cell = run_folder("stopped") / "eval/step-2.long.txt.json";
  ASSERT_FALSE(std::filesystem::exists(cell)) << "it was not stopped in the evaluation";
  more.push_back("eval.max_windows=4");
  ASSERT_NO_FATAL_FAILURE(resume(more));
  EXPECT_TRUE(std::filesystem::exists(cell));
}

TEST_F(Signals, SigtermInTheDeliveryKeepsTheOldExportAndIsMadeUpFor) {
  write_text_file(folder_ / "long.txt", tiny_text(3000));
  std::vector<std::string> more = {"train.steps=2", "export.format=sterna"};
  ASSERT_EQ(train("stopped", more), 0) << output_;
  const auto exports = run_folder("stopped") / "export";
  const std::string old = io::read_text(exports / "sterna/SHA256SUMS");
  more = {"train.steps=3",
          "export.format=sterna",
          "verify.text=" + (folder_ / "long.txt").string(),
          "verify.window=8",
          "verify.max_windows=0",
          "--resume"};
  Program program(arguments("stopped", more), folder_ / "second.txt");
  ASSERT_TRUE(program.says("done: ")) << program.output();
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_NE(program.output().find("trained, not exported; --resume exports "), std::string::npos)
      << program.output();
  EXPECT_EQ(io::read_text(exports / "sterna/SHA256SUMS"), old);
  more[4] = "verify.max_windows=2";
  ASSERT_EQ(train("stopped", more), 0) << output_;
  EXPECT_NE(io::read_text(exports / "sterna/SHA256SUMS"), old);
  EXPECT_TRUE(std::filesystem::exists(exports / "sterna/certificate.json"));
  EXPECT_FALSE(std::filesystem::exists(exports / "sterna.new"));
  EXPECT_FALSE(std::filesystem::exists(exports / "sterna.old"));
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
