// Time of encode, decode into bf16 and backward over the 210 matrices of SmolLM2-135M, beside a
// memcpy of as many fp32 weights in the same run. Not a test: prints and exits.
//   quantize_bench [threads]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <ATen/Parallel.h>

#include "quant/quantizer.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {
namespace {

constexpr int kLayers = 30;

double seconds() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

struct Matrix {
  Tensor w;
  Tensor g;
  Tensor leaf;
};

std::vector<Matrix> model() {
  std::vector<Matrix> result;
  for (int layer = 0; layer < kLayers; ++layer)
    for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{
             {576, 576}, {192, 576}, {192, 576}, {576, 576}, {1536, 576}, {1536, 576}, {576, 1536}})
      result.push_back({heavy({n, k}, result.size()),
                        normal({n, k}, 1000 + result.size()),
                        at::empty({n, k}, at::kBFloat16)});
  return result;
}

void measure(const std::string& name, const std::string& fields, std::vector<Matrix>& matrices) {
  std::vector<std::unique_ptr<Quantizer>> quantizers;
  const double start = seconds();
  for (Matrix& m : matrices) {
    quantizers.push_back(make(name, fields));
    quantizers.back()->init(m.w);
  }
  const double init = seconds() - start;
  double best[3] = {1e9, 1e9, 1e9};
  for (int repeat = 0; repeat < 5; ++repeat) {
    double total[3] = {0, 0, 0};
    for (size_t i = 0; i < matrices.size(); ++i) {
      const double t0 = seconds();
      const Encoded e = quantizers[i]->encode(matrices[i].w);
      const double t1 = seconds();
      decode_into(e, matrices[i].leaf);
      const double t2 = seconds();
      const Gradients back = quantizers[i]->backward(matrices[i].w, matrices[i].g);
      total[0] += t1 - t0;
      total[1] += t2 - t1;
      total[2] += seconds() - t2;
    }
    for (int part = 0; part < 3; ++part)
      best[part] = std::min(best[part], total[part]);
  }
  std::printf("%-15s %-30s init %7.1f  encode %6.1f  decode %6.1f  backward %6.1f  step %6.1f ms\n",
              name.c_str(),
              fields.c_str(),
              init * 1e3,
              best[0] * 1e3,
              best[1] * 1e3,
              best[2] * 1e3,
              (best[0] + best[1] + best[2]) * 1e3);
}

double copy_all(const std::vector<Matrix>& matrices) {
  double best = 1e9;
  for (int repeat = 0; repeat < 5; ++repeat) {
    const double start = seconds();
    for (const Matrix& m : matrices) {
      const float* from = m.w.const_data_ptr<float>();
      at::parallel_for(0, m.w.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
        std::memcpy(m.g.data_ptr<float>() + begin,
                    from + begin,
                    static_cast<size_t>(end - begin) * sizeof(float));
      });
    }
    best = std::min(best, seconds() - start);
  }
  return best;
}

void run(int threads) {
  at::set_num_threads(threads);
  auto matrices = model();
  double weights = 0;
  for (const Matrix& m : matrices)
    weights += static_cast<double>(m.w.numel());
  std::printf("%.1f million weights, %d threads\n", weights / 1e6, threads);
  for (const char* fields : {"group = 0", "group = 64"}) {
    measure("twn", fields, matrices);
    measure("minmax_sym", fields, matrices);
    measure("minmax_asym", fields, matrices);
    measure("seq", fields, matrices);
    measure("affine_learned", fields, matrices);
  }
  measure("minmax_asym", "group = 64, init = \"mse\"", matrices);
  const double copy = copy_all(matrices);
  std::printf("memcpy of the weights %.1f ms: %.1f GB/s read and written\n",
              copy * 1e3,
              8e-9 * weights / copy);
}

}  // namespace
}  // namespace sterna::quant

int main(int argc, char** argv) {
  sterna::quant::run(argc > 1 ? std::atoi(argv[1]) : at::get_num_threads());
  return 0;
}
