// The packed products on a GPU against their definitions; where there is none, what can be said
// without one: which calls are refused.
#include <cmath>

#include <gtest/gtest.h>

#include "kernels/matmul.h"
#include "tests/kernels/gpu_cases.h"
#include "tests/kernels/rows.h"

#ifdef STERNA_HAS_CUDA_KERNELS
#include <cuda_runtime_api.h>

namespace sterna::kernels {
namespace {

/// Device memory with what a host's array holds.
template <class T>
class Uploaded {
 public:
  Uploaded(const T* host, size_t size) : size_(size) {
    EXPECT_EQ(cudaMalloc(&data_, size * sizeof(T) + 1), cudaSuccess);
    cudaMemcpy(data_, host, size * sizeof(T), cudaMemcpyHostToDevice);
  }
  explicit Uploaded(const std::vector<T>& host) : Uploaded(host.data(), host.size()) {}
  Uploaded(const Uploaded&) = delete;
  Uploaded& operator=(const Uploaded&) = delete;
  ~Uploaded() { cudaFree(data_); }
  T* data() const { return static_cast<T*>(data_); }
  std::vector<T> read() const {
    std::vector<T> host(size_);
    EXPECT_EQ(cudaMemcpy(host.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return host;
  }

 private:
  size_t size_;
  void* data_ = nullptr;
};

class MatmulCuda : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0)
      GTEST_SKIP() << "no GPU on this machine: the kernels were compiled and emulated "
                      "(GpuKernels), not run";
  }
  std::mt19937 random_{12};

  /// Mostly small shapes of every remainder, some as long and wide as models have them.
  GpuShape shape(int i) {
    GpuShape made = random_gpu_shape(i % 4 == 0 ? 300 : 70, i % 2 == 0 ? 20 : 150, random_);
    if (i % 40 == 0) {
      made.weights.group = i % 80 == 0 ? 128 : 16384;
      made.weights.k = 16384;
    }
    return made;
  }
};

TEST_F(MatmulCuda, ByteProductsGiveTheReferencesBits) {
  for (int i = 0; i < 2000; ++i) {
    const GpuShape s = shape(i);
    const CaseMaker maker(static_cast<Kind>(i % kWholeKinds), s.weights, random_);
    const PackedMatrix& w = maker.made.packed;
    GpuCase gpu(w);
    const QuantizedCase x = quantized_case(s.m, w, s.weights.worst, 0, random_);
    std::vector<float> expected(static_cast<size_t>(s.m * w.n), -7.0f);
    const Uploaded<float> y(expected), scales(x.scales);
    ASSERT_EQ(matmul_a8_reference(w, x.rows, {0, w.n}, expected.data()), Status::kOk);
    const Uploaded<uint8_t> data(gpu.matrix.data, static_cast<size_t>(gpu.matrix.bytes()));
    const Uploaded<int8_t> codes(x.codes);
    const Uploaded<int32_t> sums(x.sums);
    gpu.matrix.data = data.data();
    const QuantizedRows rows{s.m, w.k, w.group, codes.data(), scales.data(), sums.data()};
    ASSERT_EQ(matmul_a8_cuda(gpu.matrix, rows, y.data(), nullptr), Status::kOk);
    ASSERT_EQ(y.read(), expected) << "case " << i << ", m " << s.m << ", n " << w.n << ", k " << w.k
                                  << ", group " << w.group;
  }
}

TEST_F(MatmulCuda, Bf16ProductsStayWithinTheStatedBound) {
  for (int i = 0; i < 400; ++i) {
    const GpuShape s = shape(i);
    const CaseMaker maker(static_cast<Kind>(i % kKinds), s.weights, random_);
    const PackedMatrix& w = maker.made.packed;
    GpuCase gpu(w);
    const auto x = as<Bf16>(heavy_tailed(s.m * w.k, static_cast<uint32_t>(i)));
    std::vector<float> wide;
    for (const Bf16 v : x)
      wide.push_back(widen(v));
    std::vector<float> expected(static_cast<size_t>(s.m * w.n), -7.0f);
    const Uploaded<float> y(expected);
    ASSERT_EQ(matmul_a16_reference(w, s.m, wide.data(), {0, w.n}, expected.data()), Status::kOk);
    const Uploaded<uint8_t> data(gpu.matrix.data, static_cast<size_t>(gpu.matrix.bytes()));
    const Uploaded<Bf16> rows(x);
    gpu.matrix.data = data.data();
    ASSERT_EQ(matmul_a16_cuda(gpu.matrix, s.m, rows.data(), y.data(), nullptr), Status::kOk);
    const std::vector<float> made = y.read();
    for (int64_t at = 0; at < s.m * w.n; ++at) {
      double size = 0;
      for (int64_t k = 0; k < w.k; ++k)
        size += std::abs(double{maker.made.value(at % w.n, k)} *
                         wide[static_cast<size_t>(at / w.n * w.k + k)]);
      ASSERT_NEAR(made[static_cast<size_t>(at)],
                  expected[static_cast<size_t>(at)],
                  static_cast<double>(w.k + 4) * 0x1p-22 * size)
          << "case " << i << ", m " << s.m << ", n " << w.n << ", k " << w.k;
    }
  }
}

TEST_F(MatmulCuda, QuantizedRowsAreTheProcessorsBitForBit) {
  for (const int64_t k : {1, 100, 576, 4096}) {
    auto x = heavy_tailed(5 * k, static_cast<uint32_t>(k));
    std::fill(x.begin() + k, x.begin() + 2 * k, 0.0f);
    x[static_cast<size_t>(3 * k - 1)] = INFINITY;
    const QuantizedRows rows{5, k, k % 64 == 0 ? 64 : k, nullptr, nullptr, nullptr};
    std::vector<int8_t> codes(static_cast<size_t>(5 * activation_stride(k)), 99);
    std::vector<float> scales(5, 99);
    std::vector<int32_t> sums(static_cast<size_t>(5 * (k / rows.group)), 99);
    const Uploaded<float> given(x), gpu_scales(scales);
    const Uploaded<int8_t> gpu_codes(codes);
    const Uploaded<int32_t> gpu_sums(sums);
    ASSERT_EQ(
        quantize_rows(rows, x.data(), {}, nullptr, {codes.data(), scales.data(), sums.data()}),
        Status::kOk);
    ASSERT_EQ(quantize_rows_cuda(rows,
                                 given.data(),
                                 {},
                                 {gpu_codes.data(), gpu_scales.data(), gpu_sums.data()},
                                 nullptr),
              Status::kOk);
    EXPECT_EQ(gpu_codes.read(), codes);
    EXPECT_EQ(gpu_sums.read(), sums);
    const auto read = gpu_scales.read();
    for (size_t m = 0; m < 5; ++m)
      EXPECT_EQ(std::bit_cast<uint32_t>(read[m]), std::bit_cast<uint32_t>(scales[m])) << m;
  }
}

TEST_F(MatmulCuda, ACudaGraphMayCaptureTheLaunches) {
  const CaseMaker maker(Kind::kDint4, {64, 256, 64}, random_);
  const PackedMatrix& w = maker.made.packed;
  GpuCase gpu(w);
  const QuantizedCase x = quantized_case(20, w, false, 0, random_);
  std::vector<float> expected(20 * 64, -7.0f);
  const Uploaded<float> y(expected), scales(x.scales);
  ASSERT_EQ(matmul_a8_reference(w, x.rows, {0, 64}, expected.data()), Status::kOk);
  const Uploaded<uint8_t> data(gpu.matrix.data, static_cast<size_t>(gpu.matrix.bytes()));
  const Uploaded<int8_t> codes(x.codes);
  const Uploaded<int32_t> sums(x.sums);
  gpu.matrix.data = data.data();
  const QuantizedRows rows{20, 256, 64, codes.data(), scales.data(), sums.data()};
  cudaStream_t stream = nullptr;
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  ASSERT_EQ(cudaStreamCreate(&stream), cudaSuccess);
  ASSERT_EQ(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
  EXPECT_EQ(matmul_a8_cuda(gpu.matrix, rows, y.data(), stream), Status::kOk);
  ASSERT_EQ(cudaStreamEndCapture(stream, &graph), cudaSuccess);
  ASSERT_EQ(cudaGraphInstantiate(&ready, graph, 0), cudaSuccess);
  EXPECT_NE(y.read(), expected) << "captured, not yet run";
  ASSERT_EQ(cudaGraphLaunch(ready, stream), cudaSuccess);
  ASSERT_EQ(cudaStreamSynchronize(stream), cudaSuccess);
  EXPECT_EQ(y.read(), expected);
  cudaGraphExecDestroy(ready);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
}

TEST(MatmulCudaLaunch, RefusesWhatDoesNotFit) {
  std::mt19937 random(8);
  const CaseMaker maker(Kind::kTernary, {40, 64, 32}, random);
  GpuCase gpu(maker.made.packed);
  const auto a8 = [&](const GpuMatrix& w, QuantizedRows x) {
    return matmul_a8_cuda(w, x, nullptr, nullptr);
  };
  const QuantizedRows none{0, 64, 32, nullptr, nullptr, nullptr};
  EXPECT_EQ(a8(gpu.matrix, none), Status::kOk);
  QuantizedRows x = none;
  x.m = -1;
  EXPECT_EQ(a8(gpu.matrix, x), Status::kInvalidShape);
  x = none;
  x.group = 64;
  EXPECT_EQ(a8(gpu.matrix, x), Status::kInvalidShape);
  x = none;
  x.codes = reinterpret_cast<const int8_t*>(uintptr_t{8});
  EXPECT_EQ(a8(gpu.matrix, x), Status::kUnsupported);
  GpuMatrix table = gpu.matrix;
  table.format = CodeFormat::kTable;
  EXPECT_EQ(a8(table, none), Status::kUnsupported);
  EXPECT_EQ(matmul_a16_cuda(table, 0, nullptr, nullptr, nullptr), Status::kOk);
  EXPECT_EQ(matmul_a16_cuda(gpu.matrix, -1, nullptr, nullptr, nullptr), Status::kInvalidShape);
  GpuMatrix sixteens = gpu.matrix;
  sixteens.group = 16;
  EXPECT_EQ(matmul_a16_cuda(sixteens, 0, nullptr, nullptr, nullptr), Status::kUnsupported);
  const QuantizedRows uneven{1, 64, 48, nullptr, nullptr, nullptr};
  EXPECT_EQ(quantize_rows_cuda(uneven, static_cast<const float*>(nullptr), {}, {}, nullptr),
            Status::kInvalidShape);
  EXPECT_EQ(quantize_rows_cuda(none, static_cast<const float*>(nullptr), {128}, {}, nullptr),
            Status::kUnsupported);
}

}  // namespace
}  // namespace sterna::kernels
#endif
