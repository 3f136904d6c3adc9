#include "trainer/run/average.h"

#include <gtest/gtest.h>

#include "tests/run/student_fixture.h"
#include "trainer/io/tensor_file.h"

namespace sterna::run {
namespace {

class AverageOf : public testing::Test {
 protected:
  AverageOf() : student_(make_student(folder_.path(), false, {{"lm_head"}}, learned_in_blocks)) {}

  Tensor& master() { return student_->find(kName)->master; }

  static constexpr const char* kName = "model.layers.0.mlp.up_proj.weight";
  const tests::TempFolder folder_;
  std::unique_ptr<Student> student_;
};

TEST_F(AverageOf, FollowsTheFormulaForMastersAndQuantizers) {
  Average average(*student_, 0.9);
  const Tensor scale = student_->find(kName)->quantizer->parameters()[0].tensor;
  const std::string scale_name = std::string(kName) + ".quant.scale";
  Tensor want = master().to(at::kDouble);
  Tensor want_scale = scale.to(at::kDouble);
  for (int i = 1; i <= 4; ++i) {
    master().add_(0.25 * i);
    Tensor(scale).mul_(1.5);
    average.follow();
    want = 0.9 * want + 0.1 * master().to(at::kDouble);
    want_scale = 0.9 * want_scale + 0.1 * scale.to(at::kDouble);
  }
  EXPECT_TRUE(at::allclose(average.tensors().at(kName).to(at::kDouble), want, 1e-6, 1e-7));
  EXPECT_TRUE(at::allclose(average.tensors().at(scale_name).to(at::kDouble), want_scale, 1e-6));
  EXPECT_FALSE(average.tensors().contains("lm_head.weight")) << "is not trained";
}

TEST_F(AverageOf, IsInPlaceWhileAskedForAndGoneToTheBitAfterwards) {
  Average average(*student_, 0.5);
  const Tensor before = master().clone();
  master().mul_(2);
  average.follow();
  const Tensor kept = average.tensors().at(kName).clone();
  touch(student_->all());
  student_->materialize();
  const Tensor computed = student_->find(kName)->value->clone();
  {
    const AverageInPlace shown(&average);
    EXPECT_TRUE(at::equal(master(), kept));
    student_->materialize();
    EXPECT_FALSE(at::equal(*student_->find(kName)->value, computed));
  }
  EXPECT_TRUE(at::equal(master(), before * 2));
  EXPECT_TRUE(at::equal(average.tensors().at(kName), kept));
  student_->materialize();
  EXPECT_TRUE(at::equal(*student_->find(kName)->value, computed));
  const AverageInPlace none(nullptr);
}

TEST_F(AverageOf, RestoresWhatItGaveAndNamesWhatIsMissing) {
  Average average(*student_, 0.5);
  master().mul_(3);
  average.follow();
  std::map<std::string, Tensor> stored;
  for (const auto& [name, tensor] : average.tensors())
    stored[name] = tensor.clone();
  Average again(*student_, 0.5);
  again.restore(stored, "checkpoint");
  EXPECT_TRUE(at::equal(again.tensors().at(kName), stored.at(kName)));
  stored.erase(kName);
  try {
    again.restore(stored, "checkpoint");
    FAIL() << "accepted";
  } catch (const io::FileError& error) {
    EXPECT_NE(std::string(error.what()).find(kName), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace sterna::run
