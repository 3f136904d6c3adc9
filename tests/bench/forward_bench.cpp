// Times one forward pass of a checkpoint: forward_bench CHECKPOINT [sequences tokens].
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "trainer/model/load.h"

namespace {

using at::Tensor;
using namespace sterna;

template <class Run>
double seconds(const Run& run) {
  run();
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void bench(const model::CheckpointInfo& info, at::ScalarType dtype, int64_t b, int64_t t) {
  const at::NoGradGuard no_grad;
  model::Decoder decoder = model::load_decoder(info, dtype);
  const Tensor ids = at::randint(0, info.config.vocab, {b, t}, at::kLong);
  const Tensor positions = at::arange(t);
  const auto cache = kvcache::make_stateless(decoder.attention());
  const Tensor x = decoder.embed(ids, positions);
  const double whole = seconds([&] { decoder.hidden(ids, positions, *cache); });
  const double norms = seconds([&] { decoder.final_norm(x); }) * (2.0 * info.config.layers + 1);
  double linear = 0;
  for (const quant::Linear* l : decoder.linears_of_layer(0)) {
    const Tensor in = at::randn({b * t, l->weight.size(1)}).to(dtype);
    linear += seconds([&] { l->forward(in); }) * static_cast<double>(info.config.layers);
  }
  std::printf("%s: %.2f s without the head; matrix products %.2f s, norms %.2f s\n",
              dtype == at::kFloat ? "fp32" : "bf16",
              whole,
              linear,
              norms);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2)
    return 2;
  const auto info = model::inspect(argv[1]);
  const int64_t b = argc > 3 ? std::atoll(argv[2]) : 4;
  const int64_t t = argc > 3 ? std::atoll(argv[3]) : 512;
  bench(info, at::kFloat, b, t);
  bench(info, at::kBFloat16, b, t);
}
