#include "trainer/run/tape.h"

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "tests/support/program.h"
#include "tests/support/tiny_model.h"
#include "trainer/data/samples.h"
#include "trainer/model/load.h"
#include "trainer/run/blockwise.h"

namespace sterna::run {
namespace {

std::unique_ptr<Student> make_student(const std::filesystem::path& folder,
                                      bool tied,
                                      const Freezing& freezing,
                                      const QuantizerOf& quantizer_of) {
  tests::TinyModel shape;
  shape.tied = tied;
  shape.width = 64;  // the quantizers' default group
  shape.inner = 128;
  tests::write_tiny_model(folder, shape);
  const model::CheckpointInfo info = model::inspect(folder);
  auto student = std::make_unique<Student>(model::Decoder(info.config, at::kFloat),
                                           model::read_weights(info).tensors,
                                           quantizer_of,
                                           freezing);
  student->init_quantizers();
  student->materialize();
  zero_grad(student->all());
  return student;
}

std::unique_ptr<quant::Quantizer> none(const std::string&) {
  return nullptr;
}

Tensor tokens() {
  return at::arange(2 * 9, at::kLong).reshape({2, 9}).mul(7).remainder(257);
}

std::map<std::string, Tensor> gradients_by_tape(Student& student, bool recompute, const Tensor& d) {
  zero_grad(student.all());
  Tape tape(student, recompute);
  tape.forward(tokens());
  tape.backward(d);
  std::map<std::string, Tensor> result;
  for (const Slot& slot : student.slots())
    if (slot.grad->defined())
      result[slot.name] = slot.grad->clone();
  return result;
}

class TapeOf : public testing::TestWithParam<bool> {};

TEST_P(TapeOf, BlocksGivesTheGradientsOfOneGraphThroughTheWholeModel) {
  const tests::TemporaryFolder folder;
  const auto student = make_student(folder.path(), GetParam(), {}, none);
  const Tensor d = at::randn({2, 9, 64}, at::detail::createCPUGenerator(3)).pow(3);
  const auto by_tape = gradients_by_tape(*student, false, d);
  const auto again = gradients_by_tape(*student, true, d);

  zero_grad(student->all());
  const auto cache = kvcache::make_stateless(student->decoder().rope());
  const Tensor whole = student->decoder().hidden(tokens(), at::arange(9), *cache);
  torch::autograd::backward({whole}, {d});
  int64_t moved = 0;
  for (const Slot& slot : student->slots()) {
    EXPECT_TRUE(at::equal(by_tape.at(slot.name), *slot.grad)) << slot.name;
    EXPECT_TRUE(at::equal(again.at(slot.name), *slot.grad)) << slot.name << ", recomputed";
    moved += slot.grad->abs().max().item<float>() > 0 ? 1 : 0;
  }
  // All but an untied head, which the loss feeds.
  EXPECT_EQ(moved, static_cast<int64_t>(student->slots().size()) - (GetParam() ? 0 : 1));
}

INSTANTIATE_TEST_SUITE_P(UntiedAndTied, TapeOf, testing::Bool());

TEST(Tape, StopsAtTheLowestTrainedBlockAndLeavesFrozenOnesWithoutGradient) {
  const tests::TemporaryFolder folder;
  Freezing freezing;
  freezing.patterns = {"model.embed_tokens", "model.layers.0.*", "lm_head"};
  const auto student = make_student(folder.path(), false, freezing, none);
  const Tensor d = at::ones({2, 9, 64});
  const auto grads = gradients_by_tape(*student, false, d);
  EXPECT_FALSE(grads.contains("model.layers.0.mlp.up_proj.weight"));
  EXPECT_FALSE(grads.contains("model.embed_tokens.weight"));
  ASSERT_TRUE(grads.contains("model.layers.1.input_layernorm.weight"));
  EXPECT_GT(grads.at("model.layers.1.self_attn.q_proj.weight").abs().max().item<float>(), 0);
}

/// The same bytes over and over, which is all that a block needs to be trained on.
class Repeated final : public data::SampleSource {
 public:
  int64_t size() const override { return 64; }
  data::Sample at(int64_t index) const override {
    data::Sample sample;
    for (int64_t i = 0; i <= 16; ++i)
      sample.ids.push_back(static_cast<int32_t>((index * 31 + i * i) % 256));
    sample.loss.assign(16, 1);
    return sample;
  }
  int64_t tokens() const override { return 1024; }
  const std::string& fingerprint() const override { return empty_; }
  const std::string& note() const override { return empty_; }

 private:
  std::string empty_;
};

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
      const tests::TemporaryFolder folder;
      const auto student = make_student(folder.path(), false, {}, [](const std::string& name) {
        return layer_of(name) < 0 ? nullptr : quant::quantizers().make_default("affine_learned");
      });
      const model::Decoder teacher = model::load_decoder(model::inspect(folder.path()), at::kFloat);
      BlockwiseConfig config = small_blockwise();
      config.input = input;
      config.loss = loss;
      const Repeated samples;
      Blockwise stage(*student, teacher, samples, config);
      stage.start(0);
      for (int64_t block = 0; block < 2; ++block) {
        const BlockReport report = stage.run([](int64_t, int64_t, double) {});
        EXPECT_EQ(report.block, block);
        EXPECT_EQ(report.steps, 40);
        EXPECT_TRUE(report.stable);
        EXPECT_LT(report.error_after, 0.7 * report.error_before) << input << " " << loss;
      }
    }
  }
}

TEST(Blockwise, StartedAtASecondBlockGoesOnAsIfItHadNotStopped) {
  const tests::TemporaryFolder folder;
  const auto quantizer_of = [](const std::string& name) {
    return layer_of(name) < 0 ? nullptr : quant::quantizers().make_default("affine_learned");
  };
  const auto student = make_student(folder.path(), false, {}, quantizer_of);
  const model::Decoder teacher = model::load_decoder(model::inspect(folder.path()), at::kFloat);
  const Repeated samples;
  Blockwise stage(*student, teacher, samples, small_blockwise());
  stage.start(0);
  stage.run([](int64_t, int64_t, double) {});
  const Tensor master = student->find("model.layers.1.mlp.up_proj.weight")->master;
  const Tensor before = master.clone();
  stage.run([](int64_t, int64_t, double) {});
  const Tensor straight = master.clone();

  // Back to the state between the blocks: the second one alone is done again.
  const auto other = make_student(folder.path(), false, {}, quantizer_of);
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
  Blockwise resumed(*other, teacher, samples, small_blockwise());
  resumed.start(1);
  resumed.run([](int64_t, int64_t, double) {});
  EXPECT_FALSE(at::equal(before, straight));
  EXPECT_TRUE(at::equal(other->find("model.layers.1.mlp.up_proj.weight")->master, straight));
}

}  // namespace
}  // namespace sterna::run
