// The GPU kernels' own code, run on the processor by an emulator of a block's threads: data's way
// from packed words to outputs is proved here without a GPU; matmul_cuda_test.cpp runs them on one.
#include <gtest/gtest.h>

#include "kernels/matmul.h"
#include "tests/kernels/gpu_cases.h"
#include "tests/kernels/gpu_emulator.h"
#include "tests/kernels/rows.h"
// Behind the emulator, whose functions they call.
#include "kernels/gpu_gemm_body.h"
#include "kernels/gpu_quantize_body.h"
#include "kernels/gpu_stream16_body.h"
#include "kernels/gpu_stream_body.h"

namespace sterna::kernels {
namespace {

template <CodeFormat F, int kTokens>
void emulate_stream(const GpuMatrix& w, const QuantizedRows& x, bool backwards, float* y) {
  using Kernel = StreamA8<F, kTokens>;
  gpu::launch<Kernel>(
      w.tiles(), (x.m + kTokens - 1) / kTokens, backwards, [&](typename Kernel::Shared& shared) {
        Kernel(w, x, shared).run(y);
      });
}

template <CodeFormat F, class By>
void emulate_gemm(const GpuMatrix& w, const GemmRows& x, bool backwards, float* y) {
  using Kernel = Gemm<F, By>;
  gpu::launch<Kernel>((w.n + Kernel::kOutputs - 1) / Kernel::kOutputs,
                      (x.m + Kernel::kTokens - 1) / Kernel::kTokens,
                      backwards,
                      [&](typename Kernel::Shared& shared) { Kernel(w, x, shared).run(y); });
}

template <CodeFormat F, int kTokens>
void emulate_stream16(const GpuMatrix& w, const BrainRows& x, bool backwards, float* y) {
  using Kernel = StreamA16<F, kTokens>;
  gpu::launch<Kernel>(
      w.tiles(), (x.m + kTokens - 1) / kTokens, backwards, [&](typename Kernel::Shared& shared) {
        Kernel(w, x, shared).run(y);
      });
}

template <CodeFormat F>
void emulate_gemm8(const GpuMatrix& w, const QuantizedRows& x, bool backwards, float* y) {
  const auto* rows = reinterpret_cast<const uint8_t*>(x.codes);
  emulate_gemm<F, ByBytes>(w, {rows, x.m, activation_stride(x.k), x.scales, x.sums}, backwards, y);
}

template <CodeFormat F>
void emulate_gemm16(const GpuMatrix& w, const BrainRows& x, bool backwards, float* y) {
  const auto* rows = reinterpret_cast<const uint8_t*>(x.rows);
  emulate_gemm<F, ByBf16>(w, {rows, x.m, w.k * 2, nullptr, nullptr}, backwards, y);
}

using EmulatedA8 = void (*)(const GpuMatrix&, const QuantizedRows&, bool, float*);
using EmulatedA16 = void (*)(const GpuMatrix&, const BrainRows&, bool, float*);

/// The kernels of one format. `kinds` are what packs into it.
struct EmulatedFormat {
  const char* name;
  std::vector<Kind> kinds;
  EmulatedA8 dot1, dot4, tensor16, gemm;
  EmulatedA16 one16, four16, gemm16;
};

template <CodeFormat F>
EmulatedFormat emulated(const char* name, std::vector<Kind> kinds) {
  return {name,
          std::move(kinds),
          emulate_stream<F, 1>,
          emulate_stream<F, 4>,
          emulate_stream<F, 16>,
          emulate_gemm8<F>,
          emulate_stream16<F, 1>,
          emulate_stream16<F, 4>,
          emulate_gemm16<F>};
}

std::vector<EmulatedFormat> whole_formats() {
  return {emulated<CodeFormat::kTwoBit>("two bits",
                                        {Kind::kTernary, Kind::kTwo, Kind::kSeq, Kind::kAsym2}),
          emulated<CodeFormat::kFourBit>("four bits", {Kind::kInt4, Kind::kAsym4}),
          emulated<CodeFormat::kDint>("dINT", {Kind::kDint4, Kind::kDintAsym, Kind::kDint3}),
          emulated<CodeFormat::kEightBit>("eight bits", {Kind::kInt8, Kind::kAsym8})};
}

void expect_reference_bits(
    EmulatedA8 kernel, Kind kind, const GpuShape& shape, bool backwards, std::mt19937& random) {
  const CaseMaker maker(kind, shape.weights, random);
  const PackedMatrix& w = maker.made.packed;
  const GpuCase gpu(w);
  ASSERT_EQ(gpu.status, Status::kOk);
  const QuantizedCase x = quantized_case(shape.m, w, shape.weights.worst, 0, random);
  std::vector<float> expected(static_cast<size_t>(shape.m * w.n), -7.0f), y = expected;
  ASSERT_EQ(matmul_a8_reference(w, x.rows, {0, w.n}, expected.data()), Status::kOk);
  kernel(gpu.matrix, x.rows, backwards, y.data());
  ASSERT_EQ(y, expected) << "kind " << static_cast<int>(kind) << ", m " << shape.m << ", n " << w.n
                         << ", k " << w.k << ", group " << w.group;
}

TEST(GpuKernels, ByteProductsGiveTheReferencesBits) {
  std::mt19937 random(1);
  for (const EmulatedFormat& format : whole_formats()) {
    SCOPED_TRACE(format.name);
    for (size_t i = 0; i < 12; ++i) {
      const Kind kind = format.kinds[i % format.kinds.size()];
      const bool backwards = i % 3 == 0;
      expect_reference_bits(format.dot1, kind, random_gpu_shape(60, 2, random), backwards, random);
      expect_reference_bits(format.dot4, kind, random_gpu_shape(60, 9, random), backwards, random);
      expect_reference_bits(
          format.tensor16, kind, random_gpu_shape(60, 20, random), backwards, random);
    }
    for (size_t i = 0; i < 8; ++i)
      expect_reference_bits(format.gemm,
                            format.kinds[i % format.kinds.size()],
                            random_gpu_shape(150, 70, random),
                            i % 3 == 0,
                            random);
  }
}

TEST(GpuKernels, LongRowsOfManyGroupsGiveTheReferencesBits) {
  std::mt19937 random(2);
  for (const EmulatedFormat& format : whole_formats()) {
    SCOPED_TRACE(format.name);
    const Kind kind = format.kinds.back();
    // More groups than one pass holds, and runs of units that end within a pass.
    for (const CaseShape& weights : {CaseShape{17, 32 * 131, 32},
                                     CaseShape{5, 4128, 96, true},
                                     CaseShape{20, 5000, 5000, false, true}}) {
      expect_reference_bits(format.dot1, kind, {weights, 1}, false, random);
      expect_reference_bits(format.dot4, kind, {weights, 3}, true, random);
      expect_reference_bits(format.tensor16, kind, {weights, 11}, false, random);
    }
    expect_reference_bits(format.gemm, kind, {{20, 2080, 32}, 9}, false, random);
  }
}

void expect_within_bound(EmulatedA16 kernel,
                         Kind kind,
                         const GpuShape& shape,
                         std::mt19937& random) {
  const CaseMaker maker(kind, shape.weights, random);
  const PackedMatrix& w = maker.made.packed;
  const GpuCase gpu(w);
  ASSERT_EQ(gpu.status, Status::kOk);
  const auto x = as<Bf16>(heavy_tailed(shape.m * w.k, static_cast<uint32_t>(shape.m)));
  std::vector<float> wide;
  for (const Bf16 v : x)
    wide.push_back(widen(v));
  std::vector<float> expected(static_cast<size_t>(shape.m * w.n), -7.0f), y = expected;
  ASSERT_EQ(matmul_a16_reference(w, shape.m, wide.data(), {0, w.n}, expected.data()), Status::kOk);
  kernel(gpu.matrix, {x.data(), shape.m}, false, y.data());
  for (int64_t m = 0; m < shape.m; ++m) {
    for (int64_t n = 0; n < w.n; ++n) {
      double size = 0;
      for (int64_t i = 0; i < w.k; ++i)
        size += std::abs(double{maker.made.value(n, i)} * wide[static_cast<size_t>(m * w.k + i)]);
      const auto at = static_cast<size_t>(m * w.n + n);
      ASSERT_NEAR(y[at], expected[at], static_cast<double>(w.k + 4) * 0x1p-24 * size)
          << "kind " << static_cast<int>(kind) << ", m " << shape.m << ", n " << w.n << ", k "
          << w.k << ", group " << w.group;
    }
  }
}

TEST(GpuKernels, Bf16ProductsStayWithinTheStatedBound) {
  std::mt19937 random(3);
  for (const EmulatedFormat& format : whole_formats()) {
    SCOPED_TRACE(format.name);
    for (size_t i = 0; i < 8; ++i) {
      const Kind kind = format.kinds[i % format.kinds.size()];
      expect_within_bound(format.one16, kind, random_gpu_shape(40, 2, random), random);
      expect_within_bound(format.four16, kind, random_gpu_shape(40, 9, random), random);
      GpuShape eights = random_gpu_shape(140, 40, random);
      if (eights.weights.group == eights.weights.k)
        eights.weights.group = eights.weights.k = (eights.weights.k + 7) / 8 * 8;
      expect_within_bound(format.gemm16, kind, eights, random);
    }
  }
  for (int i = 0; i < 6; ++i) {
    expect_within_bound(emulate_stream16<CodeFormat::kTable, 1>,
                        Kind::kNormal4,
                        random_gpu_shape(40, 2, random),
                        random);
    expect_within_bound(emulate_stream16<CodeFormat::kTable, 4>,
                        Kind::kNormal4,
                        random_gpu_shape(40, 9, random),
                        random);
  }
}

struct QuantizedBits {
  std::vector<int8_t> codes;
  std::vector<uint32_t> scales;
  std::vector<int32_t> sums;
  bool operator==(const QuantizedBits&) const = default;

  explicit QuantizedBits(const QuantizedRows& rows)
      : codes(static_cast<size_t>(rows.m * activation_stride(rows.k)), 99),
        scales(static_cast<size_t>(rows.m), 99),
        sums(static_cast<size_t>(rows.m * (rows.k / rows.group)), 99) {}
  QuantizedBuffers buffers() {
    return {codes.data(), reinterpret_cast<float*>(scales.data()), sums.data()};
  }
};

template <class X>
void expect_quantized_bits(const QuantizedRows& rows, const std::vector<float>& x, RowRule rule) {
  const auto given = as<X>(x);
  std::vector<float> wide;
  for (const X v : given)
    wide.push_back(widen(v));
  QuantizedBits expected(rows), made(rows);
  ASSERT_EQ(quantize_rows(rows, wide.data(), rule, nullptr, expected.buffers()), Status::kOk);
  using Kernel = QuantizeRow<X>;
  gpu::launch<Kernel>(rows.m, 1, rows.k % 2 == 0, [&](typename Kernel::Shared& shared) {
    Kernel(rows, given.data(), shared).run(rule, made.buffers());
  });
  ASSERT_EQ(made, expected) << "k " << rows.k << ", group " << rows.group;
}

TEST(GpuKernels, QuantizedRowsAreTheProcessorsBitForBit) {
  for (const int64_t k : {1, 7, 64, 100, 576, 1000}) {
    for (const float clip : {INFINITY, 1.5f}) {
      for (const float top : {127.0f, 7.0f}) {
        auto x = heavy_tailed(5 * k, static_cast<uint32_t>(k));
        std::fill(x.begin() + k, x.begin() + 2 * k, 0.0f);
        x[static_cast<size_t>(3 * k - 1)] = INFINITY;
        for (const int64_t group : {k, k % 32 == 0 ? int64_t{32} : k})
          expect_quantized_bits<float>({5, k, group}, x, {top, clip});
        expect_quantized_bits<Bf16>({5, k, k}, x, {top, clip});
        x[static_cast<size_t>(3 * k)] = NAN;
        expect_quantized_bits<float>({5, k, k}, x, {top, clip});
      }
    }
  }
}

}  // namespace
}  // namespace sterna::kernels
