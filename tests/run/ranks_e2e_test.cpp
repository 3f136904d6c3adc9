// The same recipe on one and on several ranks, by the built-in launcher.
#include "tests/run/ranks_fixture.h"
#include "tests/support/port.h"

namespace sterna::tests {
namespace {

using namespace std::chrono_literals;

class Ranks : public RankTraining {};

TEST_F(Ranks, TwoTrainWhatOneDoesAndTheSameBitsEveryTime) {
  const std::vector<std::string> more{"train.steps=10", "train.log_every=1"};
  ASSERT_EQ(train("one", more), 0) << output_;
  ASSERT_EQ(train_ranks(2, "two", more), 0) << output_;
  EXPECT_EQ(count(output_, "step 10/10"), 1) << output_;
  ASSERT_EQ(train_ranks(2, "again", more), 0) << output_;
  const std::vector<double> one = losses("one");
  const std::vector<double> two = losses("two");
  ASSERT_EQ(one.size(), 10u);
  ASSERT_EQ(two.size(), 10u);
  for (size_t i = 0; i < one.size(); ++i)
    EXPECT_NEAR(two[i], one[i], 1e-5 * one[i]) << "step " << i + 1;
  EXPECT_EQ(hashes("two", "step-10"), hashes("again", "step-10"));
  for (int64_t rank = 0; rank < 2; ++rank)
    EXPECT_NE(
        rank_log("two", rank)
            .find("rank " + std::to_string(rank) + " of 2 on " + dist::host_name() + ", process "),
        std::string::npos)
        << rank_log("two", rank);
  EXPECT_TRUE(living().empty());
}

TEST_F(Ranks, ARunOfFourContinuesOnTwoAndOnOneWithTheSameSamples) {
  const std::vector<std::string> more{"train.schedule=constant", "train.checkpoint_every=4"};
  const auto until = [&](int64_t step) {
    std::vector<std::string> all = more;
    all.push_back("train.steps=" + std::to_string(step));
    if (step > 4)
      all.push_back("--resume");
    return all;
  };
  ASSERT_EQ(train_ranks(4, "moved", until(4)), 0) << output_;
  ASSERT_EQ(train_ranks(2, "moved", until(8)), 0) << output_;
  ASSERT_EQ(train("moved", until(12)), 0) << output_;
  ASSERT_EQ(train("one", {more[0], more[1], "train.steps=12"}), 0) << output_;
  const std::vector<double> one = losses("one");
  const std::vector<double> moved = losses("moved");
  ASSERT_EQ(moved.size(), 12u);
  for (size_t i = 0; i < one.size(); ++i)
    EXPECT_NEAR(moved[i], one[i], 1e-5 * one[i]) << "step " << i + 1;
}

TEST_F(Ranks, FourEvaluateToTheLastBitWhatOneDoes) {
  const std::vector<std::string> more{"train.steps=1",
                                      "eval.text=" + (folder_ / "text.txt").string(),
                                      "eval.window=16",
                                      "eval.batch=3",
                                      "teacher.dtype=bf16"};
  ASSERT_EQ(train("one", more), 0) << output_;
  ASSERT_EQ(train_ranks(4, "four", more), 0) << output_;
  for (const char* cell : {"full-precision", "ptq"}) {
    const std::string file = std::string("eval/") + cell + ".text.txt.json";
    nlohmann::json one = nlohmann::json::parse(io::read_text(run_folder("one") / file));
    nlohmann::json four = nlohmann::json::parse(io::read_text(run_folder("four") / file));
    EXPECT_GT(one.at("predicted_tokens"), 12 * 15) << "fewer batches than ranks prove nothing";
    one.erase("seconds");
    four.erase("seconds");
    EXPECT_EQ(one, four) << cell;
  }
}

TEST_F(Ranks, SigtermToOneRankSavesTheStepOfAllAndTheRunIsContinuedToTheSameWeights) {
  std::vector<std::string> more{
      "train.schedule=constant", "train.checkpoint_every=0", "train.steps=100000"};
  Program program(of_ranks(2, "stopped", more), folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 1/")) << program.output();
  kill(processes(3).at(1), SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_EQ(count(program.output(), ": saved step-"), 1) << program.output();
  ASSERT_EQ(checkpoints("stopped").size(), 1u);
  const int64_t done = std::stoll(checkpoints("stopped").front().substr(5));
  more.back() = "train.steps=" + std::to_string(done + 2);
  ASSERT_EQ(train_ranks(2, "straight", more), 0) << output_;
  more.push_back("--resume");
  ASSERT_EQ(train_ranks(2, "stopped", more), 0) << output_;
  const std::string last = "step-" + std::to_string(done + 2);
  EXPECT_EQ(hashes("stopped", last), hashes("straight", last));
}

TEST_F(Ranks, SigtermToTheLauncherInAnEvaluationReachesAllOnce) {
  write_text_file(folder_ / "long.txt", tiny_text(40000));
  Program program(of_ranks(2,
                           "stopped",
                           {"eval.text=" + (folder_ / "long.txt").string(),
                            "eval.window=8",
                            "eval.batch=1",
                            "eval.before=false",
                            "eval.every=2",
                            "train.log_every=1",
                            "train.steps=4"}),
                  folder_ / "output.txt");
  ASSERT_TRUE(program.says("step 2/4")) << program.output();
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_NE(program.output().find("asked to stop (SIGTERM): saved step-2"), std::string::npos)
      << program.output();
  EXPECT_TRUE(living().empty());
}

/// Starts a rank by hand, as srun or mpirun would.
std::unique_ptr<Program> start_rank(std::vector<std::string> words,
                                    const std::filesystem::path& output,
                                    int rank,
                                    int port) {
  return std::make_unique<Program>(std::move(words), output, [=] {
    setenv("OMPI_COMM_WORLD_RANK", std::to_string(rank).c_str(), 1);
    setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    setenv("OMPI_COMM_WORLD_LOCAL_RANK", std::to_string(rank).c_str(), 1);
    setenv("OMPI_COMM_WORLD_LOCAL_SIZE", "2", 1);
    setenv("MASTER_PORT", std::to_string(port).c_str(), 1);
  });
}

TEST_F(Ranks, StartedByHandTrainAsWell) {
  const int port = unused_port();
  const std::vector<std::string> words = arguments("pair", {"train.steps=3"});
  const auto zero = start_rank(words, folder_ / "0.txt", 0, port);
  const auto one = start_rank(words, folder_ / "1.txt", 1, port);
  EXPECT_EQ(zero->wait(), 0) << zero->output();
  EXPECT_EQ(one->wait(), 0) << one->output();
  EXPECT_NE(zero->output().find("step 3/3"), std::string::npos) << zero->output();
  EXPECT_EQ(one->output(), "");
  ASSERT_EQ(train_ranks(2, "launched", {"train.steps=3"}), 0) << output_;
  EXPECT_EQ(hashes("pair", "step-3"), hashes("launched", "step-3"));
}

TEST_F(Ranks, ThatDoNotAgreeOnTheRecipeStopAtTheStartWithBothValues) {
  const int port = unused_port();
  const auto zero = start_rank(arguments("pair", {"train.lr=1e-3"}), folder_ / "0.txt", 0, port);
  const auto one = start_rank(arguments("pair", {"train.lr=5e-3"}), folder_ / "1.txt", 1, port);
  EXPECT_EQ(zero->wait(), 2) << zero->output();
  EXPECT_EQ(one->wait(), 2) << one->output();
  const std::string said = zero->output() + one->output();
  EXPECT_EQ(count(said, "train.lr is 0.001 on rank 0, 0.005 on rank 1"), 1) << said;
  EXPECT_FALSE(std::filesystem::exists(run_folder("pair")));
}

TEST_F(Ranks, AMistakeOfOneRankEndsAllAndSaysWhose) {
  const int port = unused_port();
  std::vector<std::string> wrong = arguments("pair");
  wrong[1] = (folder_ / "no.toml").string();
  const auto zero = start_rank(arguments("pair"), folder_ / "0.txt", 0, port);
  const auto one = start_rank(wrong, folder_ / "1.txt", 1, port);
  EXPECT_EQ(zero->wait(), 2) << zero->output();
  EXPECT_EQ(one->wait(), 2) << one->output();
  const std::string said = zero->output() + one->output();
  EXPECT_EQ(count(said, "error: "), 1) << said;
  EXPECT_NE(said.find("(rank 1 on " + dist::host_name() + ")"), std::string::npos) << said;
}

TEST_F(Ranks, AMistakeOfAllIsSaidOnce) {
  EXPECT_EQ(train_ranks(4, "wrong", {"train.stepz=3"}), 2) << output_;
  EXPECT_EQ(count(output_, "error: "), 1) << output_;
}

TEST_F(Ranks, AreNotStartedByARank) {
  Program program(of_ranks(2, "twice"), folder_ / "output.txt", [] {
    setenv("RANK", "0", 1);
    setenv("WORLD_SIZE", "1", 1);
  });
  EXPECT_EQ(program.wait(), 2);
  EXPECT_NE(program.output().find("leave --nproc out"), std::string::npos) << program.output();
}

}  // namespace
}  // namespace sterna::tests
