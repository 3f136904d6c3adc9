#include "trainer/eval/generate.h"

#include <algorithm>
#include <numeric>

#include "kernels/row_reduce.h"
#include "recipes/user_error.h"

namespace sterna::eval {
namespace {

using at::Tensor;

// Tokens of a long prompt that go through the model at once.
constexpr int64_t kPrefill = 512;

Tensor step(const model::Decoder& decoder, const Tensor& ids, kvcache::Cache& cache) {
  const int64_t from = cache.length();
  const Tensor positions = at::arange(from, from + ids.size(1), ids.options());
  return decoder.hidden(ids, positions, cache).select(1, -1);
}

int64_t most_likely(const Tensor& logits) {
  if (logits.is_cpu() && logits.scalar_type() == at::kFloat && logits.is_contiguous()) {
    const auto* values = logits.const_data_ptr<float>();
    const float largest = kernels::min_max(values, logits.numel()).max;
    const auto* found = std::find(values, values + logits.numel(), largest);
    if (found != values + logits.numel())
      return found - values;
  }
  return logits.argmax(-1).item<int64_t>();  // NaN, another dtype or device
}

/// Words from the most likely one on, of equal ones the first: only as many are brought into order
/// as are asked for.
class Likeliest {
 public:
  /// @param p  fp64 [V], outlives this
  explicit Likeliest(const Tensor& p)
      : p_(p.const_data_ptr<double>()), left_(static_cast<size_t>(p.numel())) {
    std::iota(left_.begin(), left_.end(), 0);
    std::make_heap(left_.begin(), left_.end(), Less{p_});
  }

  int64_t next() {
    std::pop_heap(left_.begin(), left_.end(), Less{p_});
    const int64_t id = left_.back();
    left_.pop_back();
    return id;
  }

 private:
  struct Less {
    const double* p;
    bool operator()(int64_t a, int64_t b) const { return p[a] != p[b] ? p[a] < p[b] : a > b; }
  };

  const double* p_;
  std::vector<int64_t> left_;
};

}  // namespace

// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators) at a counter.
double uniform_at(uint64_t seed, uint64_t position) {
  const auto mix = [](uint64_t z) {
    z += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  };
  return static_cast<double>(mix(mix(seed) ^ position) >> 11) * 0x1.0p-53;
}

int64_t choose(const Tensor& logits, const Sampling& sampling, uint64_t position) {
  if (sampling.temperature <= 0)
    return most_likely(logits);
  const Tensor p = (logits.to(at::kCPU, at::kDouble) / sampling.temperature).softmax(-1);
  const double* share = p.const_data_ptr<double>();
  int64_t kept = p.numel();
  double mass = 1;
  if (sampling.top_p < 1) {
    Likeliest likeliest(p);
    for (kept = 0, mass = 0; kept == 0 || (mass < sampling.top_p && kept < p.numel()); ++kept)
      mass += share[likeliest.next()];
  }
  Likeliest likeliest(p);
  double left = uniform_at(sampling.seed, position) * mass;
  int64_t id = 0;
  do {
    id = likeliest.next();
    left -= share[id];
  } while (--kept > 0 && left >= 0);
  return id;
}

void require_prompt(std::span<const int32_t> prompt, const model::DecoderConfig& config) {
  if (prompt.empty())
    throw recipes::UserError("generate: the prompt is empty; give some text");
  if (static_cast<int64_t>(prompt.size()) >= config.max_positions)
    throw recipes::UserError("generate: the prompt has " + std::to_string(prompt.size()) +
                             " tokens, the model takes " + std::to_string(config.max_positions));
}

std::vector<int32_t> generate(const model::Decoder& decoder,
                              std::span<const int32_t> prompt,
                              const Sampling& sampling,
                              std::span<const int64_t> stop,
                              const std::function<bool(int32_t)>& on_token) {
  const at::NoGradGuard no_grad;
  require_prompt(prompt, decoder.config());
  const int64_t room = decoder.config().max_positions;
  const auto given = static_cast<int64_t>(prompt.size());
  const auto cache = kvcache::make_full(decoder.attention());
  const Tensor text = at::tensor(at::ArrayRef<int32_t>(prompt.data(), prompt.size()), at::kLong)
                          .unsqueeze(0)
                          .to(decoder.head_linear().weight.device());
  Tensor hidden;
  for (int64_t at = 0; at < given; at += kPrefill)
    hidden = step(decoder, text.narrow(1, at, std::min(kPrefill, given - at)), *cache);
  std::vector<int32_t> made;
  while (static_cast<int64_t>(made.size()) < sampling.max_new) {
    const int64_t position = given + static_cast<int64_t>(made.size());
    const int64_t id = choose(decoder.head(hidden)[0], sampling, position);
    made.push_back(static_cast<int32_t>(id));
    const bool more = !on_token || on_token(static_cast<int32_t>(id));
    if (!more || std::find(stop.begin(), stop.end(), id) != stop.end() || position >= room)
      break;
    hidden = step(decoder, at::full({1, 1}, id, text.options()), *cache);
  }
  return made;
}

}  // namespace sterna::eval
