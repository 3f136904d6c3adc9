// AdamW (Loshchilov and Hutter, arXiv:1711.05101)
//   w <- w - lr * decay * w
//   m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2
//   w <- w - lr / (1 - b1^t) * m / (sqrt(v / (1 - b2^t)) + eps)
// As torch.optim.AdamW, element by element in fp32 with scalars rounded once from fp64; t counts
// a tensor's applied updates, so a skipped step leaves no trace.
// BertAdam (Devlin et al.'s optimizer, as in TernaryBERT and teacher intervention) is the same with
// both corrections by b^t left out; it clips each tensor by its own norm (optimizer.cpp).
#include "trainer/run/adamw.h"

#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

namespace sterna::run {
namespace {

// Small enough to spread a small model over threads, large enough that one costs more than its
// hand-out; fixed, so that sums have one order.
constexpr int64_t kChunk = 1 << 15;

struct Chunk {
  int64_t tensor;
  int64_t begin;
  int64_t end;
};

std::vector<Chunk> chunks_of(std::span<const Trained> tensors) {
  std::vector<Chunk> chunks;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Trained& t = tensors[i];
    for (const Tensor* each : {&t.value, &t.grad})
      TORCH_CHECK(each->defined() && each->is_contiguous() && each->scalar_type() == at::kFloat &&
                      each->numel() == t.value.numel(),
                  "adamw: ",
                  t.name,
                  " needs contiguous fp32 values and gradients of one size");
    if (!t.value.is_cpu())
      continue;
    for (int64_t at = 0; at < t.value.numel(); at += kChunk)
      chunks.push_back({static_cast<int64_t>(i), at, std::min(at + kChunk, t.value.numel())});
  }
  return chunks;
}

struct Factors {
  float grad;
  float keep1, add1;
  float keep2, add2;
  float shrink;  // 1 - lr * decay
  float rate;    // lr / (1 - b1^t)
  float root2;   // 1 / sqrt(1 - b2^t)
  float eps;
};

void update(float* __restrict w,
            const float* __restrict g,
            float* __restrict m,
            float* __restrict v,
            int64_t n,
            const Factors f) {
#pragma GCC ivdep
  for (int64_t i = 0; i < n; ++i) {
    const float grad = g[i] * f.grad;
    m[i] = f.keep1 * m[i] + f.add1 * grad;
    v[i] = f.keep2 * v[i] + f.add2 * (grad * grad);
    w[i] = w[i] * f.shrink - f.rate * m[i] / (std::sqrt(v[i]) * f.root2 + f.eps);
  }
}

/// What a mean of t updates from 0 lacks.
double bias(double beta, const Trained& t, const AdamConfig& config) {
  return config.bert ? 1.0 : 1 - std::pow(beta, static_cast<double>(t.applied));
}

Factors factors(const Trained& t, const AdamConfig& config, const Rates& rates) {
  const double lr = t.quantizer ? rates.lr_quantizer : rates.lr;
  const double decay = t.decays ? config.weight_decay * rates.decay : 0.0;
  Factors f{};
  f.grad = static_cast<float>(t.grad_factor);
  f.keep1 = static_cast<float>(config.beta1);
  f.add1 = static_cast<float>(1 - config.beta1);
  f.keep2 = static_cast<float>(config.beta2);
  f.add2 = static_cast<float>(1 - config.beta2);
  f.shrink = static_cast<float>(1 - lr * decay);
  f.rate = static_cast<float>(lr / bias(config.beta1, t, config));
  f.root2 = static_cast<float>(1 / std::sqrt(bias(config.beta2, t, config)));
  f.eps = static_cast<float>(config.eps);
  return f;
}

/// The same on a device: update(), a term at a time.
void update_there(const Trained& t, const Factors& f) {
  const at::NoGradGuard no_grad;
  const Tensor grad = t.grad * f.grad;
  Tensor(t.moment1).mul_(f.keep1).add_(grad, f.add1);
  Tensor(t.moment2).mul_(f.keep2).addcmul_(grad, grad, f.add2);
  const Tensor below = t.moment2.sqrt().mul_(f.root2).add_(f.eps);
  Tensor(t.value).mul_(f.shrink).addcdiv_(t.moment1, below, -f.rate);
}

/// Squared norms of the gradients that lie on a device, waited for once.
double squared_norm_there(std::span<const Trained> tensors) {
  std::vector<Tensor> squares;
  for (const Trained& t : tensors)
    if (!t.grad.is_cpu())
      squares.push_back(
          at::linalg_vector_norm(t.grad, 2, at::OptionalIntArrayRef(), false, at::kDouble)
              .square());
  return squares.empty() ? 0.0 : at::stack(squares).sum().item<double>();
}

}  // namespace

void adamw_step(std::span<const Trained> tensors, const AdamConfig& config, const Rates& rates) {
  const std::vector<Chunk> chunks = chunks_of(tensors);
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const Chunk& chunk = chunks[c];
      const Trained& t = tensors[chunk.tensor];
      update(t.value.data_ptr<float>() + chunk.begin,
             t.grad.const_data_ptr<float>() + chunk.begin,
             t.moment1.data_ptr<float>() + chunk.begin,
             t.moment2.data_ptr<float>() + chunk.begin,
             chunk.end - chunk.begin,
             factors(t, config, rates));
    }
  });
  for (const Trained& t : tensors)
    if (!t.value.is_cpu())
      update_there(t, factors(t, config, rates));
}

double squared_norm(std::span<const Trained> tensors) {
  const std::vector<Chunk> chunks = chunks_of(tensors);
  std::vector<double> partial(chunks.size());
  at::parallel_for(0, static_cast<int64_t>(chunks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; ++c) {
      const float* g = tensors[chunks[c].tensor].grad.const_data_ptr<float>();
      // Eight sums side by side: one alone would wait for every addition.
      double lanes[8] = {};
      int64_t i = chunks[c].begin;
      for (; i + 8 <= chunks[c].end; i += 8)
        for (int64_t k = 0; k < 8; ++k)
          lanes[k] += static_cast<double>(g[i + k]) * static_cast<double>(g[i + k]);
      for (; i < chunks[c].end; ++i)
        lanes[0] += static_cast<double>(g[i]) * static_cast<double>(g[i]);
      partial[c] = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
                   ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
    }
  });
  double sum = squared_norm_there(tensors);
  for (const double each : partial)
    sum += each;
  return sum;
}

}  // namespace sterna::run
