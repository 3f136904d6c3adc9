// What is planned from shapes is what a loaded session holds.
#include "trainer/plan/workload.h"

#include <gtest/gtest.h>

#include "tests/support/recipe_on.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/model/load_parts.h"
#include "trainer/plan/memory_model.h"

namespace sterna::plan {
namespace {

class Counted : public testing::Test {
 protected:
  run::Session open(const std::string& more, bool tied) const {
    tests::TinyModel shape;
    shape.tied = tied;
    tests::write_tiny_model(folder_.path() / "model", shape);
    tests::write_text_file(folder_.path() / "text.txt", tests::tiny_text(200));
    recipes::Recipe recipe = tests::recipe_on(folder_.path(), more);
    run::Session session = run::open_session(recipe);
    run::load_models(session);
    return session;
  }

  void compare(const std::string& more, bool tied = false) const {
    SCOPED_TRACE(more);
    run::Session session = open("[train]\nsteps=1\nseq_len=16\n" + more, tied);
    const Workload work = workload_of(session);
    const PartSize all = sum_of(work.parts);
    run::Student& student = *session.student;
    student.init_quantizers();
    if (session.settings.train.only == "scales")
      student.hold_codes();
    double masters = 0, trained = 0, compute = 0, quantizers = 0, moved = 0;
    for (run::Slot& slot : student.slots()) {
      const auto n = static_cast<double>(slot.master.numel());
      masters += n;
      trained += slot.trains_master || slot.trains_quantizer ? n : 0;
      compute += static_cast<double>(slot.value->nbytes());
      if (slot.held)
        quantizers += static_cast<double>(slot.held->codes.nbytes());
      if (slot.quantizer)
        for (const auto& list : {slot.quantizer->parameters(), slot.quantizer->buffers()})
          for (const quant::NamedTensor& each : list)
            quantizers += static_cast<double>(each.tensor.nbytes());
    }
    for (const auto& [name, tensor] : run::trained_tensors(student))
      moved += static_cast<double>(tensor.numel());
    EXPECT_EQ(all.matrices + all.vectors, masters);
    EXPECT_EQ(all.trained, trained);
    EXPECT_EQ(all.moved, moved);
    EXPECT_EQ(all.quantizers, quantizers);
    const MemoryEstimate m = estimate_memory(work, share_among(work, 1), 0);
    EXPECT_EQ(m.compute, compute);
    EXPECT_EQ(m.masters, 4 * masters);
    if (session.teacher)
      EXPECT_NEAR(m.teacher, static_cast<double>(model::weight_bytes(*session.teacher)), 64);
    else
      EXPECT_EQ(m.teacher, 0);
  }

  const tests::TempFolder folder_;
};

TEST_F(Counted, FullPrecision) {
  compare("");
}
TEST_F(Counted, LearnedScalesUnderBf16AndATeacherInFp32) {
  compare(
      "[model]\ndtype='bf16'\n[kd]\nloss='kl'\n[quant]\nweight={name='affine_learned',group=16}");
}
TEST_F(Counted, FrozenPartsOfATiedModel) {
  compare("freeze=['lm_head','*norm*','*.q_proj']\n[quant]\nweight='lsq'", /*tied=*/true);
}
TEST_F(Counted, QuantizersAlone) {
  compare("only='quant'\n[quant]\nweight={name='affine_learned',group=16}");
}
TEST_F(Counted, ScalesAlone) {
  compare("only='scales'\n[quant]\nweight={name='affine_learned',group=16}");
}
TEST_F(Counted, AdaptersOverACodedBase) {
  compare("[quant]\nweight={name='nf',group=16}\n[adapter]\nmethod={name='lora',rank=4}");
}
TEST_F(Counted, APackedTeacher) {
  compare(
      "[kd]\nloss='kl'\n[teacher]\ndtype='bf16'\n[teacher.quant]\nweight={name='minmax_sym',bits="
      "8}");
}

TEST_F(Counted, OffloadedInputsOfBlocksInHostMemoryButForTwo) {
  const std::string recipe = "[train]\nsteps=1\nseq_len=16\nbatch=2\nrecompute=true\n";
  const auto memory = [&](const std::string& more) {
    Workload work = workload_of(open(recipe + more, false));
    work.student.layers = 6;
    return estimate_memory(work, share_among(work, 1), 0);
  };
  const MemoryEstimate here = memory("");
  const MemoryEstimate there = memory("[memory]\noffload=\"activations\"\n");
  const double input = 2 * 16 * 32 * 4;
  EXPECT_EQ(here.host.total(), 0);
  EXPECT_EQ(there.host.activations, 6 * input);
  EXPECT_EQ(there.host.total(), 6 * input);
  EXPECT_EQ(here.activations - there.activations, 4 * input);
  EXPECT_EQ(here.total() - there.total(), 4 * input);
}

}  // namespace
}  // namespace sterna::plan
