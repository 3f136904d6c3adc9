#include "trainer/plan/estimate.h"

#include <gtest/gtest.h>

#include "tests/support/memory.h"
#include "tests/support/program.h"
#include "tests/support/recipe_on.h"
#include "tests/support/tiny_model.h"
#include "trainer/run/step.h"

namespace sterna::plan {
namespace {

class Estimate : public testing::Test {
 protected:
  /// Distillation on a model of 3 M weights whose activations outweigh them.
  run::Session open(const std::string& more) const {
    tests::TinyModel shape;
    shape.width = 256;
    shape.inner = 512;
    shape.layers = 4;
    tests::write_tiny_model(folder_.path() / "model", shape);
    tests::write_text_file(folder_.path() / "text.txt", tests::tiny_text(500));
    recipes::Recipe recipe =
        tests::recipe_on(folder_.path(),
                         "[kd]\nloss = \"kl\"\n[quant]\nweight = \"affine_learned\"\n"
                         "[train]\nsteps = 2\nseq_len = 128\nbatch = 8\n" +
                             more);
    run::Session session = run::open_session(recipe);
    run::load_models(session);
    return session;
  }

  /// @return  what was estimated for the session that made them
  MemoryEstimate two_steps(const std::string& more) const {
    run::Session session = open(more);
    const MemoryEstimate estimate = estimate_memory(session);
    session.student->init_quantizers();
    const run::TrainConfig& config = session.settings.train;
    run::Optimizer optimizer(config.adam(), config.clip);
    run::Step step({*session.student,
                    session.teacher.get(),
                    *session.objective,
                    *session.samples,
                    optimizer,
                    *session.world},
                   config);
    for (int64_t i = 0; i < 2; ++i)
      EXPECT_TRUE(step.run(i).outcome.applied);
    return estimate;
  }

  const tests::TempFolder folder_;
};

TEST_F(Estimate, OfMemoryIsWithinAThirdOfWhatTwoStepsHold) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "no peak of memory can be measured here (clear_refs, AddressSanitizer)";
  two_steps("");  // code that is used for the first time is memory too
  for (const char* more : {"", "recompute = true\n"}) {
    const tests::PeakMemory peak;
    const MemoryEstimate estimate = two_steps(more);
    const double expected = estimate.total() - estimate.program;  // which this process held before
    const auto measured = static_cast<double>(peak.bytes());
    std::printf("estimated %.0f MB, measured %.0f MB\n", expected / 1e6, measured / 1e6);
    // Libraries keep some 20 MB for themselves, which a model of this size does not outweigh.
    EXPECT_LT(measured, 4.0 / 3 * expected + 20e6) << more;
    EXPECT_GT(measured, 3.0 / 4 * expected) << more;
  }
}

TEST_F(Estimate, CountsTheCopyOfACheckpointThatIsWrittenBehind) {
  const double copy = estimate_memory(open("checkpoint_every = 1\n")).copy;
  const MemoryEstimate none = estimate_memory(open(""));
  EXPECT_EQ(none.copy, 0);
  EXPECT_EQ(estimate_memory(open("checkpoint_every = 1\ncheckpoint_async = false\n")).copy, 0);
  EXPECT_NEAR(copy, none.masters + none.moments + none.quantizers, 1e3);
}

TEST_F(Estimate, ARunThatDoesNotFitIsToldWhatToChangeInOrder) {
  run::Session session = open("");
  for (const std::string& line : estimate(session))
    EXPECT_FALSE(line.starts_with("WARNING")) << line;
  session.settings.train.batch = int64_t{1} << 40;
  const std::vector<std::string> lines = estimate(session);
  const auto warning = std::find_if(lines.begin(), lines.end(), [](const std::string& line) {
    return line.starts_with("WARNING");
  });
  ASSERT_NE(warning, lines.end());
  size_t at = 0;
  for (const char* knob : {"train.batch",
                           "train.recompute",
                           "train.seq_len",
                           "kd.chunk",
                           "teacher.dtype",
                           "model.dtype",
                           "train.freeze"}) {
    const size_t next = warning->find(knob);
    ASSERT_NE(next, std::string::npos) << knob;
    EXPECT_GT(next, at) << knob;
    at = next;
  }
}

TEST(MemoryRoom, IsWhatTheSystemCallsAvailableAndWhatWeHold) {
  const double room = memory_room();
  EXPECT_GT(room, 1e6);
  EXPECT_TRUE(memory_warning(room * 0.9, room).empty());
  EXPECT_NE(memory_warning(2 * room, room).find("WARNING"), std::string::npos);
}

}  // namespace
}  // namespace sterna::plan
