// `teacher.cache`: the teacher speaks once, and runs go on without it.
#include <fstream>
#include <regex>
#include <set>

#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

using nlohmann::json;

class CachedTeacher : public Training {
 protected:
  std::string cache() const { return (folder_.path() / "teacher").string(); }

  /// Two micro-batches a step; 27 steps or so are an epoch.
  int teach(const std::string& name, const std::string& kind, std::vector<std::string> more = {}) {
    more.insert(more.begin(),
                {"teacher.cache=" + kind,
                 "teacher.cache_dir=" + cache() + "-" + kind,
                 "data.separator=\"\\n\"",
                 "train.steps=20"});
    return train(name, more);
  }

  std::vector<double> losses(const std::string& name) const {
    std::vector<double> all;
    std::istringstream log(io::read_text(run_folder(name) / "log.jsonl"));
    for (std::string line; std::getline(log, line);)
      all.push_back(json::parse(line).at("loss"));
    return all;
  }

  bool says(const std::string& what) const { return output_.find(what) != output_.npos; }
};

TEST_F(CachedTeacher, HiddenStatesTrainTheWeightsThatTheTeacherBesideWouldToTheBit) {
  const std::string last = "step-40";  // in the second epoch
  for (const std::vector<std::string>& more :
       {std::vector<std::string>{"teacher.dtype=bf16", "train.steps=40"},
        std::vector<std::string>{
            "teacher.dtype=bf16", "train.steps=40", "data.packing=whole", "kd.loss=tsld"}}) {
    const std::string name = std::to_string(more.size());
    std::filesystem::remove_all(cache() + "-hidden");
    ASSERT_EQ(teach("online" + name, "none", more), 0) << output_;
    ASSERT_EQ(teach("cached" + name, "hidden", more), 0) << output_;
    EXPECT_TRUE(says("64 bytes a token")) << output_;
    EXPECT_EQ(hashes("cached" + name, last), hashes("online" + name, last));
    EXPECT_EQ(losses("cached" + name), losses("online" + name));
  }
}

TEST_F(CachedTeacher, IsAskedOnceAndServesOtherOrdersAndLaterEpochs) {
  ASSERT_EQ(teach("first", "hidden"), 0) << output_;
  EXPECT_FALSE(says(": 0 samples are to be made")) << output_;
  ASSERT_EQ(teach("again", "hidden"), 0) << output_;
  EXPECT_TRUE(says(": 0 samples are to be made")) << output_;
  EXPECT_EQ(hashes("again", "step-20"), hashes("first", "step-20"));
  // All samples of an epoch are known by now (tiny_text has fewer than 8 x 40).
  ASSERT_EQ(teach("whole", "hidden", {"train.steps=40"}), 0) << output_;
  ASSERT_EQ(teach("seed", "hidden", {"train.steps=45", "train.seed=5"}), 0) << output_;
  EXPECT_TRUE(says(": 0 samples are to be made")) << output_;
}

TEST_F(CachedTeacher, IsAskedOnceForASampleThatManyEpochsSee) {
  ASSERT_EQ(teach("long", "hidden", {"train.steps=60"}), 0) << output_;
  std::smatch asked;
  ASSERT_TRUE(std::regex_search(output_, asked, std::regex("teacher [0-9]+/([0-9]+)"))) << output_;
  // 40 micro-batches hold all samples of an epoch; 60 steps are 120 micro-batches.
  EXPECT_LE(std::stoi(asked[1]), 60);
}

TEST_F(CachedTeacher, ASignalWhileItSpeaksIsResumedFrom) {
  write_text_file(folder_.path() / "text.txt", tiny_text(3000));
  const std::vector<std::string> more{"teacher.cache=hidden",
                                      "teacher.cache_dir=" + cache() + "-stopped",
                                      "data.separator=\"\\n\"",
                                      "train.steps=400",
                                      "train.checkpoint_every=0"};
  Program program(arguments("stopped", more), folder_ / "output.txt");
  ASSERT_TRUE(program.says("samples are to be made")) << program.output();
  program.signal(SIGTERM);
  EXPECT_EQ(program.wait(), 3) << program.output();
  EXPECT_NE(program.output().find("--resume continues"), std::string::npos) << program.output();
  std::vector<std::string> less = more;
  less.back() = "--resume";
  EXPECT_EQ(train("stopped", less), 0) << output_;
}

TEST_F(CachedTeacher, ADamagedAnswerEndsTheRunBehindItsLastCompleteStep) {
  ASSERT_EQ(teach("whole", "hidden"), 0) << output_;
  std::set<std::filesystem::path> parts;
  for (const auto& entry : std::filesystem::directory_iterator(cache() + "-hidden"))
    if (entry.path().extension() == ".part")
      parts.insert(entry.path());
  // Of some row; the first step may need it, then one of another part is tried.
  for (const std::filesystem::path& part : parts) {
    constexpr int64_t at = 7;
    std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
    const auto turn = [&] {
      file.seekg(at);
      const auto byte = static_cast<char>(file.get() ^ 1);
      file.seekp(at);
      file.put(byte);
      file.flush();
    };
    turn();
    const std::string name = "damaged-" + part.stem().string();
    ASSERT_EQ(teach(name, "hidden", {"train.checkpoint_every=0"}), 2) << output_;
    EXPECT_TRUE(says("does not match its SHA-256; remove the file")) << output_;
    turn();
    if (!std::filesystem::exists(run_folder(name) / "checkpoints") || checkpoints(name).empty())
      continue;
    ASSERT_EQ(teach(name, "hidden", {"train.checkpoint_every=0", "--resume"}), 0) << output_;
    EXPECT_EQ(hashes(name, "step-20"), hashes("whole", "step-20"));
    return;
  }
  FAIL() << "every row was one of the first step";
}

TEST_F(CachedTeacher, KilledAndResumedRunsEndWhereAStraightOneDoes) {
  ASSERT_EQ(teach("straight", "hidden"), 0) << output_;
  const std::vector<std::string> more = {"teacher.cache=hidden",
                                         "teacher.cache_dir=" + cache() + "-killed",
                                         "data.separator=\"\\n\"",
                                         "train.steps=20"};
  train_with_kills("killed", more, {120, 250, 400, 500});
  EXPECT_EQ(hashes("killed", "step-20"), hashes("straight", "step-20"));
}

TEST_F(CachedTeacher, RoundsStatesOfAnFp32TeacherToBf16AndNothingElse) {
  ASSERT_EQ(teach("online", "none"), 0) << output_;
  ASSERT_EQ(teach("hidden", "hidden"), 0) << output_;
  const std::vector<double> online = losses("online");
  const std::vector<double> hidden = losses("hidden");
  EXPECT_NE(online, hidden);
  // Of the same student; later ternary weights flip and go other ways.
  EXPECT_NEAR(hidden[0], online[0], 1e-3 * online[0]);
  EXPECT_NEAR(hidden.back(), online.back(), 0.05 * online.back());
}

TEST_F(CachedTeacher, TopWordsTrainAlmostAsTheWholeTeacher) {
  ASSERT_EQ(teach("online", "none"), 0) << output_;
  ASSERT_EQ(teach("topk", "topk", {"teacher.top_k=250"}), 0) << output_;
  EXPECT_TRUE(says("1002 bytes a token")) << output_;
  const std::vector<double> online = losses("online");
  const std::vector<double> topk = losses("topk");
  EXPECT_NEAR(topk[0], online[0], 0.01 * online[0]);
  EXPECT_LT(topk[0], online[0]) << "words told apart no longer lower a divergence";
  EXPECT_NEAR(topk.back(), online.back(), 0.05 * online.back());
}

TEST_F(CachedTeacher, SaysWhatItCannotServeAndWhatDiffers) {
  EXPECT_EQ(teach("a", "hidden", {"blockwise.samples=4"}), 2);
  EXPECT_TRUE(says("'teacher.cache'") && says("block-wise")) << output_;
  EXPECT_EQ(teach("b", "topk", {"kd.loss=tsld"}), 2);
  EXPECT_TRUE(says("teacher.cache=hidden")) << output_;
  EXPECT_EQ(teach("c", "topk", {"teacher.top_k=257"}), 2);
  EXPECT_TRUE(says("'teacher.top_k'")) << output_;
  ASSERT_EQ(teach("d", "hidden", {"train.steps=1"}), 0) << output_;
  EXPECT_EQ(teach("e", "hidden", {"train.seq_len=16", "teacher.dtype=bf16"}), 2);
  EXPECT_TRUE(says("train.seq_len: 32 there, 16 now") && says("teacher.dtype: fp32 there"))
      << output_;
  EXPECT_FALSE(says("tokenizer:")) << output_;
}

}  // namespace
}  // namespace sterna::tests
