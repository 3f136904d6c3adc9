#include "trainer/run/blockwise.h"

#include <gtest/gtest.h>

#include "tests/run/student_fixture.h"
#include "tests/support/memory.h"

namespace sterna::run {
namespace {

const std::unique_ptr<dist::World> kAlone = dist::make_single();

void silent(int64_t, int64_t, double) {}

BlockwiseConfig small_blockwise() {
  BlockwiseConfig config;
  config.samples = 16;
  config.batch = 4;
  config.epochs = 10;
  config.lr = 1e-3;
  config.lr_quant = 1e-3;
  return config;
}

TEST(Blockwise, BringsEveryBlockNearerToTheFullPrecisionBlock) {
  for (const char* input : {"quantized", "full"}) {
    for (const char* loss : {"mse", "relative"}) {
      const tests::TempFolder folder;
      const auto student = make_student(folder.path(), false, {}, learned_in_blocks);
      const model::Decoder teacher = model::load_decoder(model::inspect(folder.path()), at::kFloat);
      BlockwiseConfig config = small_blockwise();
      config.input = input;
      config.loss = loss;
      const Repeated samples;
      Blockwise stage({*student, teacher, samples, *kAlone}, config);
      stage.start(0);
      for (int64_t block = 0; block < 2; ++block) {
        const BlockReport report = stage.run(silent);
        EXPECT_EQ(report.block, block);
        EXPECT_EQ(report.steps, 40);
        EXPECT_TRUE(report.stable);
        EXPECT_LT(report.error_after, 0.7 * report.error_before) << input << " " << loss;
      }
    }
  }
}

TEST(Blockwise, StartedAtASecondBlockGoesOnAsIfItHadNotStopped) {
  const tests::TempFolder folder;
  const auto student = make_student(folder.path(), false, {}, learned_in_blocks);
  const model::Decoder teacher = model::load_decoder(model::inspect(folder.path()), at::kFloat);
  const Repeated samples;
  Blockwise stage({*student, teacher, samples, *kAlone}, small_blockwise());
  stage.start(0);
  stage.run(silent);
  const Tensor master = student->find("model.layers.1.mlp.up_proj.weight")->master;
  const Tensor before = master.clone();
  stage.run(silent);
  const Tensor straight = master.clone();

  // Back to the state between the blocks: the second one alone is done again.
  const auto other = make_student(folder.path(), false, {}, learned_in_blocks);
  for (Slot& slot : other->slots()) {
    if (slot.layer != 0)
      continue;
    Slot* done = student->find(slot.name);
    slot.master.copy_(done->master);
    if (slot.quantizer)
      for (size_t i = 0; i < slot.quantizer->parameters().size(); ++i)
        Tensor(slot.quantizer->parameters()[i].tensor)
            .copy_(done->quantizer->parameters()[i].tensor);
    slot.stale = true;
  }
  Blockwise resumed({*other, teacher, samples, *kAlone}, small_blockwise());
  resumed.start(1);
  resumed.run(silent);
  EXPECT_FALSE(at::equal(before, straight));
  EXPECT_TRUE(at::equal(other->find("model.layers.1.mlp.up_proj.weight")->master, straight));
}

/// Notes which samples were asked for.
class Noted final : public Repeated {
 public:
  data::Sample at(int64_t index) const override {
    seen.push_back(index);
    return Repeated::at(index);
  }
  mutable std::vector<int64_t> seen;
};

TEST(Blockwise, TrainsTheLastShortBatchToo) {
  const tests::TempFolder folder;
  const auto student = make_student(folder.path(), false, {}, learned_in_blocks);
  const model::Decoder teacher = model::load_decoder(model::inspect(folder.path()), at::kFloat);
  BlockwiseConfig config = small_blockwise();
  config.epochs = 1;
  std::vector<Tensor> masters;
  for (const int64_t samples : {8, 9}) {
    config.samples = samples;
    const auto own = student_of(folder.path(), {}, learned_in_blocks);
    const Noted source;
    Blockwise stage({*own, teacher, source, *kAlone}, config);
    stage.start(0);
    EXPECT_EQ(source.seen.size(), static_cast<size_t>(samples));
    EXPECT_EQ(stage.run(silent).steps, samples == 8 ? 2 : 3);
    masters.push_back(own->find("model.layers.0.mlp.up_proj.weight")->master);
  }
  EXPECT_FALSE(at::equal(masters[0], masters[1])) << "the ninth sample changed nothing";
}

/// Bytes by which the process grows while a block is measured, in streams of activations.
double streams_held(const std::string& loss, const std::string& input) {
  const tests::TempFolder folder;
  tests::TinyModel shape;
  shape.width = 256;
  shape.inner = 64;
  shape.layers = 1;
  tests::write_tiny_model(folder.path(), shape);
  const auto student = student_of(folder.path(), {}, none);  // nothing quantized, nothing to train
  const model::Decoder teacher = model::load_decoder(model::inspect(folder.path()), at::kFloat);
  BlockwiseConfig config;
  config.samples = 384;
  config.loss = loss;
  config.input = input;
  const Repeated samples(128);
  const tests::PeakMemory peak;
  Blockwise stage({*student, teacher, samples, *kAlone}, config);
  stage.start(0);
  stage.run(silent);
  return static_cast<double>(peak.bytes()) / (384.0 * 128 * 256 * sizeof(float));
}

TEST(Blockwise, HoldsThreeStreamsOfActivationsAndTwoWhereTheInputIsTheTeachers) {
  if (!tests::PeakMemory::measurable())
    GTEST_SKIP() << "no peak of memory can be measured here (clear_refs, AddressSanitizer)";
  for (const char* loss : {"mse", "relative"}) {
    const double quantized = streams_held(loss, "quantized");
    EXPECT_GT(quantized, 2.8) << loss << ": the measure sees the streams";
    EXPECT_LT(quantized, 3.4) << loss;
    EXPECT_LT(streams_held(loss, "full"), 2.4) << loss;
  }
}

}  // namespace
}  // namespace sterna::run
