// Times the linear layers of one block, forward and backward, with and without rounded inputs, in
// alternation: activation_bench [tokens [width inner kv]]. Defaults: SmolLM2-135M, 2048 tokens.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "quant/linear.h"
#include "recipes/recipe.h"

namespace {

using namespace sterna::quant;

struct Layer {
  Linear linear;
  Tensor x, dy;
};

Layer make_layer(int64_t tokens, int64_t n, int64_t k, at::ScalarType dtype) {
  Layer layer;
  layer.linear.weight = at::randn({n, k}).to(dtype);
  layer.linear.grad = at::zeros({n, k});
  layer.x = at::randn({tokens, k}).to(dtype).requires_grad_();
  layer.dy = at::randn({tokens, n}).to(dtype);
  return layer;
}

double seconds(std::vector<Layer>& layers, const std::shared_ptr<ActQuantizer>& act) {
  const auto start = std::chrono::steady_clock::now();
  for (Layer& layer : layers) {
    layer.linear.act = act;
    layer.linear.forward(layer.x).backward(layer.dy);
    layer.x.mutable_grad() = Tensor();
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const auto number = [&](int i, int64_t fallback) {
    return argc > i ? std::atoll(argv[i]) : fallback;
  };
  const int64_t tokens = number(1, 2048), d = number(2, 576), f = number(3, 1536),
                kv = number(4, 192);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    std::vector<Layer> layers;
    for (const auto& [n, k] : std::vector<std::pair<int64_t, int64_t>>{
             {d, d}, {kv, d}, {kv, d}, {d, d}, {f, d}, {f, d}, {d, f}})
      layers.push_back(make_layer(tokens, n, k, dtype));
    for (const char* name : {"per_token", "per_tensor"}) {
      const std::shared_ptr<ActQuantizer> act = act_quantizers().make_default(name);
      std::vector<double> plain, ratio;
      seconds(layers, act);
      for (int i = 0; i < 9; ++i) {
        plain.push_back(seconds(layers, nullptr));
        ratio.push_back(seconds(layers, act) / plain.back());
      }
      std::printf("%s, %s: block's linear layers %.1f ms, with rounded inputs x %.3f\n",
                  dtype == at::kFloat ? "fp32" : "bf16",
                  name,
                  1e3 * median(plain),
                  median(ratio));
    }
  }
}
