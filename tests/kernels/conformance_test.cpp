#include "kernels/conformance.h"

#include <set>

#include "tests/kernels/rows.h"

namespace sterna::kernels {
namespace {

class Conformance : public EveryCpu {};

TEST_P(Conformance, EveryVariantGivesTheExpectedBits) {
  for (const DintVector& vector : dint_vectors())
    EXPECT_TRUE(conforms(vector, GetParam())) << vector.name;
}

STERNA_ON_EVERY_CPU(Conformance);

/// s = 1/2, x = 2 at a scale of 1: dINT4's -6, -1/2, 0, 1/2 and 6 times 2 make -12, -1, 0, 1, 12,
/// times 1/4, times x: -6, -1/2, 0, 1/2, 6.
TEST(Conformance, AHandWorkedVectorConformsAndAWrongOneDoesNot) {
  DintVector v;
  v.bits = 4;
  v.m = 1;
  v.n = 5;
  v.k = v.group = 1;
  v.levels = {{-6, -5, -4, -3, -2, -1, -0.5f, 0, 0.5f, 1, 2, 3, 4, 5, 6}};
  v.codes = {0, 6, 7, 8, 14};
  v.scales.assign(5, 0.5f);
  v.zeros.assign(5, 0);
  v.x = {2};
  v.x_scales = {1};
  v.y = {-6, -0.5f, 0, 0.5f, 6};
  EXPECT_TRUE(conforms(v, CpuLevel::kAvx2));
  v.y[3] = 0.25f;
  EXPECT_FALSE(conforms(v, CpuLevel::kAvx2));
}

TEST(Conformance, TheSetHasEveryCodeAndEveryZero) {
  for (const int64_t bits : {3, 4}) {
    std::set<int> symmetric, asymmetric, zeros;
    for (const DintVector& v : dint_vectors()) {
      if (v.bits != bits)
        continue;
      std::set<int>& codes = v.levels.size() == 1 ? symmetric : asymmetric;
      codes.insert(v.codes.begin(), v.codes.end());
      zeros.insert(v.zeros.begin(), v.zeros.end());
    }
    EXPECT_EQ(symmetric.size(), (1u << bits) - 1);
    EXPECT_EQ(asymmetric.size(), 1u << bits);
    EXPECT_EQ(zeros.size(), (1u << bits) - 2);
  }
}

}  // namespace
}  // namespace sterna::kernels
