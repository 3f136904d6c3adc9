#include "quant/pack.h"

#include <gtest/gtest.h>

namespace sterna::quant {
namespace {

at::Tensor codes_of(int64_t n, int64_t k, int64_t bits, int64_t code_min) {
  return (at::randint(0, int64_t{1} << bits, {n, k}, at::kInt) + code_min).to(at::kChar);
}

class PackOfBits : public ::testing::TestWithParam<int64_t> {};

TEST_P(PackOfBits, UnpackGivesBackTheCodesForSizesThatDoNotDivide) {
  const int64_t bits = GetParam();
  for (const int64_t n : {0, 1, 3, 40}) {
    for (const int64_t k : {0, 1, 2, 7, 8, 9, 31, 64, 576}) {
      for (const int64_t code_min : {-(int64_t{1} << (bits - 1)), bits < 8 ? int64_t{0} : -128}) {
        const at::Tensor codes = codes_of(n, k, bits, code_min);
        const at::Tensor packed = pack_codes(codes, bits, code_min);
        EXPECT_EQ(packed.sizes(), (std::vector<int64_t>{n, (k * bits + 7) / 8}));
        EXPECT_TRUE(at::equal(unpack_codes(packed, k, bits, code_min), codes));
      }
    }
  }
}

TEST_P(PackOfBits, ElementIHasTheBitsFromITimesBitsOn) {
  const int64_t bits = GetParam(), k = 21;
  for (int64_t i = 0; i < k; ++i) {
    at::Tensor codes = at::zeros({1, k}, at::kChar);
    codes[0][i] = bits == 8 ? 127 : (1 << bits) - 1;
    const at::Tensor packed = pack_codes(codes, bits, 0);
    const int64_t ones = bits == 8 ? 7 : bits;
    for (int64_t bit = 0; bit < packed.size(1) * 8; ++bit) {
      const bool set = (packed[0][bit / 8].item<int64_t>() >> (bit % 8) & 1) != 0;
      EXPECT_EQ(set, bit >= i * bits && bit < i * bits + ones) << "code " << i << " bit " << bit;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllWidths, PackOfBits, ::testing::Range<int64_t>(1, 9));

TEST(Pack, AByteIsWhatTheLayoutSaysItIs) {
  // 1, 2, 3, 0 from the lowest bits on: 0b00'11'10'01; ternary codes are shifted by one.
  const at::Tensor codes = at::tensor({1, 2, 3, 0}, at::kChar).view({1, 4});
  EXPECT_EQ(pack_codes(codes, 2, 0).item<int64_t>(), 0x39);
  EXPECT_EQ(pack_codes(codes - 1, 2, -1).item<int64_t>(), 0x39);
  // three bits: 5 | 3 << 3 = 0x1d, and 6 straddles: 5 | 3 << 3 | 6 << 6 = 0x19d
  const at::Tensor three = pack_codes(at::tensor({5, 3, 6}, at::kChar).view({1, 3}), 3, 0);
  EXPECT_EQ(three[0][0].item<int64_t>(), 0x9d);
  EXPECT_EQ(three[0][1].item<int64_t>(), 0x01);
}

TEST(Pack, CodesOutsideTheGridAndSpareBitsAreRefused) {
  EXPECT_THROW(pack_codes(at::full({2, 3}, 4, at::kChar), 2, 0), c10::Error);
  EXPECT_THROW(pack_codes(at::full({2, 3}, -2, at::kChar), 2, -1), c10::Error);
  EXPECT_THROW(pack_codes(at::zeros({1, 1}, at::kChar), 9, 0), c10::Error);
  EXPECT_THROW(unpack_codes(at::full({1, 1}, 0x40, at::kByte), 3, 2, 0), c10::Error);
  EXPECT_NO_THROW(unpack_codes(at::full({1, 1}, 0x3f, at::kByte), 3, 2, 0));
  EXPECT_THROW(unpack_codes(at::full({1, 1}, 200, at::kByte), 1, 8, 0), c10::Error);
  EXPECT_THROW(unpack_codes(at::zeros({1, 2}, at::kByte), 3, 2, 0), c10::Error);
}

}  // namespace
}  // namespace sterna::quant
