// Each variant against dequantize_reference, bit for bit; the reference against values by hand.
#include "kernels/dequantize.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#ifdef STERNA_HAS_CUDA_KERNELS
#include <cuda_runtime_api.h>
#endif

namespace sterna::kernels {
namespace {

using Bytes = std::vector<unsigned char>;

struct Matrix {
  DequantizeShape shape;
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<float> zeros;
  float offset = 0;
  AffineCodes view() const {
    return {codes.data(), scales.data(), zeros.empty() ? nullptr : zeros.data(), offset};
  }
};

/// Scales of heavy tails (randn^3) over many powers of two, so that all roundings occur:
/// subnormal, overflowing and ordinary ones.
Matrix random_matrix(DequantizeShape shape, bool zeros) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> code(-128, 127);
  std::uniform_int_distribution<int> exponent(-30, 14);
  Matrix m{shape, {}, {}, {}, 0.5f};
  const int64_t scale_rows = shape.shared_scales ? 1 : shape.n;
  for (int64_t i = 0; i < shape.n * shape.k; ++i)
    m.codes.push_back(static_cast<int8_t>(code(random)));
  for (int64_t i = 0; i < scale_rows * (shape.k / shape.group); ++i) {
    m.scales.push_back(std::ldexp(std::pow(normal(random), 3.0f), exponent(random)));
    if (zeros)
      m.zeros.push_back(normal(random));
  }
  if (!m.scales.empty())
    m.scales.front() = 0.0f;
  return m;
}

Bytes room(const DequantizeShape& shape, FloatType type) {
  return Bytes(static_cast<size_t>(shape.n * shape.k * (type == FloatType::kFloat32 ? 4 : 2)),
               0xab);
}

Bytes by_reference(const Matrix& m, FloatType type) {
  Bytes out = room(m.shape, type);
  EXPECT_EQ(dequantize_reference(m.shape, m.view(), 0, m.shape.n, type, out.data()), Status::kOk);
  return out;
}

struct Case {
  DequantizeShape shape;
  bool zeros;
};
const Case kCases[] = {{{0, 64, 64, false}, false},
                       {{3, 0, 1, false}, true},
                       {{1, 1, 1, false}, true},
                       {{5, 96, 32, false}, true},
                       {{7, 65, 13, false}, false},
                       {{4, 128, 64, true}, false},
                       {{9, 130, 65, true}, true},
                       {{16, 576, 64, false}, true}};
const FloatType kTypes[] = {FloatType::kFloat32, FloatType::kBfloat16, FloatType::kFloat16};

TEST(Dequantize, ReferenceGivesTheValuesWorkedByHand) {
  // Two groups of two: scales 0.5 and -3, zeros 1 and 2.5.
  const std::vector<int8_t> codes = {1, -1, 2, 4};
  const std::vector<float> scales = {0.5f, -3.0f};
  const std::vector<float> zeros = {1.0f, 2.5f};
  std::vector<float> out(4);
  const DequantizeShape shape{1, 4, 2, false};
  dequantize_reference(
      shape, {codes.data(), scales.data(), zeros.data(), 0}, 0, 1, FloatType::kFloat32, out.data());
  EXPECT_EQ(out, (std::vector<float>{0.0f, -1.0f, 1.5f, -4.5f}));
}

TEST(Dequantize, RoundsToNearestAndTiesToEven) {
  // 257 and 259 lie half way between bf16 neighbours (256, 258, 260); 2049 and 2051 do so in fp16
  // (2048, 2050, 2052); 65520 is the first value that fp16 rounds to infinity; 2^-25 ties to zero.
  const std::vector<float> values = {257.0f, 259.0f, -259.0f, 2049.0f, 2051.0f, 65520.0f, 0x1p-25f};
  const std::vector<uint16_t> bf16 = {0x4380, 0x4382, 0xc382, 0x4500, 0x4500, 0x4780, 0x3300};
  const std::vector<uint16_t> fp16 = {0x5c04, 0x5c0c, 0xdc0c, 0x6800, 0x6802, 0x7c00, 0x0000};
  const std::vector<int8_t> codes(values.size(), 1);
  const DequantizeShape shape{1, static_cast<int64_t>(values.size()), 1, false};
  const AffineCodes in{codes.data(), values.data(), nullptr, 0};
  for (auto* variant : {dequantize_reference, dequantize}) {
    std::vector<uint16_t> out(values.size());
    variant(shape, in, 0, 1, FloatType::kBfloat16, out.data());
    EXPECT_EQ(out, bf16);
    variant(shape, in, 0, 1, FloatType::kFloat16, out.data());
    EXPECT_EQ(out, fp16);
  }
}

TEST(Dequantize, EqualsTheReferenceBitForBit) {
  for (const auto& [shape, zeros] : kCases) {
    const Matrix m = random_matrix(shape, zeros);
    for (const FloatType type : kTypes) {
      Bytes out = room(shape, type);
      ASSERT_EQ(dequantize(shape, m.view(), 0, shape.n, type, out.data()), Status::kOk);
      EXPECT_EQ(out, by_reference(m, type)) << shape.n << " x " << shape.k << "/" << shape.group;
    }
  }
}

TEST(Dequantize, WritesTheRowsOfItsRangeAndNoOthers) {
  const DequantizeShape shape{8, 48, 16, false};
  const Matrix m = random_matrix(shape, true);
  Bytes expected = by_reference(m, FloatType::kBfloat16);
  std::fill(expected.begin(), expected.begin() + 3 * 48 * 2, 0xab);
  std::fill(expected.begin() + 5 * 48 * 2, expected.end(), 0xab);
  Bytes out = room(shape, FloatType::kBfloat16);
  EXPECT_EQ(dequantize(shape, m.view(), 3, 5, FloatType::kBfloat16, out.data()), Status::kOk);
  EXPECT_EQ(out, expected);
}

TEST(Dequantize, RefusesShapesThatDoNotFit) {
  const Matrix m = random_matrix({4, 64, 16, false}, false);
  Bytes out = room(m.shape, FloatType::kFloat32);
  for (auto* variant : {dequantize_reference, dequantize}) {
    const auto run = [&](DequantizeShape shape, int64_t begin, int64_t end) {
      return variant(shape, m.view(), begin, end, FloatType::kFloat32, out.data());
    };
    EXPECT_EQ(run({4, 64, 24, false}, 0, 4), Status::kInvalidShape);
    EXPECT_EQ(run({4, 64, 0, false}, 0, 4), Status::kInvalidShape);
    EXPECT_EQ(run({-1, 64, 16, false}, 0, 0), Status::kInvalidShape);
    EXPECT_EQ(run(m.shape, 0, 5), Status::kInvalidShape);
    EXPECT_EQ(run(m.shape, -1, 2), Status::kInvalidShape);
    EXPECT_EQ(run(m.shape, 3, 2), Status::kInvalidShape);
  }
  EXPECT_EQ(out, room(m.shape, FloatType::kFloat32)) << "a refused call wrote";
}

#ifdef STERNA_HAS_CUDA_KERNELS
class OnDevice {
 public:
  template <class T>
  explicit OnDevice(const std::vector<T>& host) : bytes_(host.size() * sizeof(T)) {
    if (bytes_ != 0 && cudaMalloc(&data_, bytes_) == cudaSuccess)
      cudaMemcpy(data_, host.data(), bytes_, cudaMemcpyHostToDevice);
  }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  ~OnDevice() { cudaFree(data_); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  Bytes read() const {
    Bytes host(bytes_);
    EXPECT_EQ(cudaMemcpy(host.data(), data_, bytes_, cudaMemcpyDeviceToHost), cudaSuccess);
    return host;
  }

 private:
  size_t bytes_;
  void* data_ = nullptr;
};

TEST(Dequantize, OnTheGpuEqualsTheReferenceBitForBit) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
    GTEST_SKIP() << "no GPU on this machine: dequantize_cuda was compiled, not run";
  for (const auto& [shape, zeros] : kCases) {
    const Matrix m = random_matrix(shape, zeros);
    const OnDevice codes(m.codes), scales(m.scales), offsets(m.zeros);
    const AffineCodes in{codes.as<int8_t>(), scales.as<float>(), offsets.as<float>(), m.offset};
    for (const FloatType type : kTypes) {
      const OnDevice out(room(shape, type));
      ASSERT_EQ(dequantize_cuda(shape, in, type, out.as<void>(), nullptr), Status::kOk);
      EXPECT_EQ(out.read(), by_reference(m, type)) << shape.n << " x " << shape.k;
    }
  }
}

TEST(Dequantize, OnTheGpuRefusesShapesThatDoNotFit) {
  EXPECT_EQ(dequantize_cuda({4, 64, 24, false}, {}, FloatType::kFloat32, nullptr, nullptr),
            Status::kInvalidShape);
  EXPECT_EQ(dequantize_cuda({0, 64, 16, false}, {}, FloatType::kFloat32, nullptr, nullptr),
            Status::kOk);
}
#endif

}  // namespace
}  // namespace sterna::kernels
