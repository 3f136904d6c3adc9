#include "kernels/packed_matrix.h"

#include <cstring>

#include <gtest/gtest.h>

#include "tests/kernels/packed_cases.h"

namespace sterna::kernels {
namespace {

TEST(PackedMatrix, UnpackingGivesEveryWeightBitForBit) {
  std::mt19937 random(1);
  for (int kind = 0; kind < kKinds; ++kind) {
    for (const CaseShape& shape : std::vector<CaseShape>{{1, 16, 16},
                                                         {16, 64, 64},
                                                         {37, 50, 50, true},
                                                         {33, 96, 32, false, true, 3},
                                                         {5, 1, 1},
                                                         {0, 32, 32}}) {
      const CaseMaker maker(static_cast<Kind>(kind), shape, random);
      ASSERT_EQ(maker.made.status, Status::kOk) << kind;
      std::vector<float> values(static_cast<size_t>(shape.n * shape.k), 1e9f);
      ASSERT_EQ(unpack(maker.made.packed, 0, shape.n, values.data()), Status::kOk);
      for (int64_t n = 0; n < shape.n; ++n)
        for (int64_t i = 0; i < shape.k; ++i)
          ASSERT_EQ(values[static_cast<size_t>(n * shape.k + i)], maker.made.value(n, i))
              << "kind " << kind << ", row " << n << ", input " << i;
    }
  }
}

TEST(PackedMatrix, TakesTheBitsOfItsCodesAndScales) {
  std::mt19937 random(2);
  const auto bits = [&](Kind kind, int64_t group, bool float_scales) {
    const CaseMaker maker(kind, {64, 256, group, float_scales}, random);
    return 8.0 * static_cast<double>(maker.made.packed.bytes()) / (64 * 256);
  };
  EXPECT_EQ(bits(Kind::kTernary, 256, false), 2 + 16.0 / 256);
  EXPECT_EQ(bits(Kind::kTernary, 64, true), 2 + 32.0 / 64);
  EXPECT_EQ(bits(Kind::kDint4, 128, false), 4 + 16.0 / 128);
  EXPECT_EQ(bits(Kind::kDintAsym, 128, false), 4 + 32.0 / 128);
  EXPECT_EQ(bits(Kind::kInt8, 256, false), 8 + 16.0 / 256);
}

TEST(PackedMatrix, OneScaleServesAllRows) {
  const std::vector<int8_t> codes{-1, 0, 1, 1, -1, 0};
  const float scale = 0.25f;
  WeightCodes w;
  w.n = 2;
  w.k = w.group = 3;
  w.bits = 2;
  w.code_min = -1;
  w.codes = codes.data();
  w.scales = &scale;
  w.shared_scales = true;
  PackedMatrix packed;
  ASSERT_EQ(plan_packing(w, &packed), Status::kOk);
  std::vector<uint8_t> buffer(static_cast<size_t>(packed.bytes()));
  pack(w, packed, buffer.data());
  packed.panels = buffer.data();
  std::vector<float> values(6);
  unpack(packed, 0, 2, values.data());
  EXPECT_EQ(values, (std::vector<float>{-0.25f, 0, 0.25f, 0.25f, -0.25f, 0}));
}

TEST(PackedMatrix, RefusesWhatItCannotHold) {
  std::mt19937 random(3);
  PackedMatrix packed;
  CaseMaker four(Kind::kAsym4, {4, 64, 32}, random);
  WeightCodes w = four.made.codes;
  four.made.zeros[3] = 0.3f;
  EXPECT_EQ(plan_packing(w, &packed), Status::kUnsupported) << "a zero between half steps";
  four.made.zeros[3] = 16;
  EXPECT_EQ(plan_packing(w, &packed), Status::kUnsupported) << "a zero that is no code";
  four.made.zeros[3] = 7.5f;
  EXPECT_EQ(plan_packing(w, &packed), Status::kOk) << "a half step";
  four.made.scales[1] = 1e-45f;
  EXPECT_EQ(plan_packing(w, &packed), Status::kUnsupported) << "a scale without a half";

  CaseMaker tables(Kind::kDintAsym, {4, 64, 32}, random);
  tables.made.levels[20] = 0.75f;
  EXPECT_EQ(plan_packing(tables.made.codes, &packed), Status::kUnsupported)
      << "tables by group that are not dINT's";
  CaseMaker plain(Kind::kTernary, {4, 64, 32}, random);
  const auto status = [&](auto change) {
    WeightCodes changed = plain.made.codes;
    change(changed);
    return plan_packing(changed, &packed);
  };
  EXPECT_EQ(status([](WeightCodes& c) { c.group = 24; }), Status::kInvalidShape);
  EXPECT_EQ(status([](WeightCodes& c) { c.group = 8; }), Status::kInvalidShape);
  EXPECT_EQ(status([](WeightCodes& c) { c.group = 0; }), Status::kInvalidShape);
  EXPECT_EQ(status([](WeightCodes& c) { c.n = -1; }), Status::kInvalidShape);
  EXPECT_EQ(status([](WeightCodes& c) { c.bits = 9; }), Status::kInvalidShape);
  EXPECT_EQ(status([](WeightCodes& c) { c.k = c.group = kMaxInputs + 1; }), Status::kInvalidShape);
  EXPECT_EQ(unpack(plain.made.packed, 0, 5, nullptr), Status::kInvalidShape);
}

}  // namespace
}  // namespace sterna::kernels
