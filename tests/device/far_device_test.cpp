// What the other tests here rest on: the far device's memory is out of the host's reach, and its
// second stream keeps those waiting who do not wait.
#include "tests/support/far_device.h"

#include <gtest/gtest.h>

#include "trainer/run/copier.h"

namespace sterna::tests {
namespace {

using at::Tensor;

class FarDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (!has_far_device())
      GTEST_SKIP() << "there is a GPU, on which the tests of tests/device run";
  }
};

TEST_F(FarDevice, EndsAProgramThatReadsItsMemoryOnTheHost) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const Tensor there = at::ones({3}).to(far_device());
  EXPECT_TRUE(at::equal(there.cpu(), at::ones({3})));
  EXPECT_DEATH({ std::fprintf(stderr, "%f", *static_cast<const float*>(there.const_data_ptr())); },
               "");
  EXPECT_DEATH({ *static_cast<float*>(there.mutable_data_ptr()) = 2; }, "");
}

TEST_F(FarDevice, ComputesAsTheHostDoesOnViewsToo) {
  const Tensor here = at::rand({4, 6});
  const Tensor there = here.to(far_device());
  EXPECT_TRUE(at::equal(at::mm(there.t(), there).cpu(), at::mm(here.t(), here)));
  there.narrow(1, 2, 3).t().mul_(3);
  here.narrow(1, 2, 3).t().mul_(3);
  EXPECT_TRUE(at::equal(there.cpu(), here));
  EXPECT_TRUE(
      at::equal(there.flatten(0, 1).view(at::kByte).cpu(), here.flatten(0, 1).view(at::kByte)));
}

TEST_F(FarDevice, CountsWhatItHoldsAndWhatCrossesItsBorder) {
  const FarFigures before = far_figures();
  {
    const Tensor there = at::ones({1000}).to(far_device());
    there.add_(there);
    EXPECT_EQ(far_figures().bytes - before.bytes, 4000);
    EXPECT_EQ(there.sum().item<double>(), 2000);
    there.narrow(0, 0, 10).cpu();
  }
  const FarFigures after = far_figures();
  EXPECT_EQ(after.bytes, before.bytes);
  EXPECT_EQ(after.bytes_up - before.bytes_up, 4000);
  EXPECT_EQ(after.bytes_down - before.bytes_down, 40);
  EXPECT_EQ(after.waits - before.waits, 1);
}

TEST_F(FarDevice, CopiesBesideAreThereOnlyWhenSomebodyHasWaited) {
  const auto copier = run::make_copier(far_device());
  const Tensor there = at::ones({5}).to(far_device());
  const Tensor here = at::zeros({5});
  copier->start(here, there);
  EXPECT_TRUE(at::equal(here, at::zeros({5})));
  copier->wait();
  EXPECT_TRUE(at::equal(here, at::ones({5})));
}

}  // namespace
}  // namespace sterna::tests
