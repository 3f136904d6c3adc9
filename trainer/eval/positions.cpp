#include "trainer/eval/positions.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

namespace sterna::eval {
namespace {

using at::Tensor;

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// llama.cpp's rule: linear between the two nearest ranks.
double percentile(const std::vector<double>& sorted, double fraction) {
  const double rank = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(rank);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  const double share = rank - static_cast<double>(below);
  return (1 - share) * sorted[below] + share * sorted[above];
}

}  // namespace

void append(std::vector<double>& to, const Tensor& values) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const Tensor wide = values.to(at::kCPU, at::kDouble).contiguous().nan_to_num(kInf, kInf, -kInf);
  const double* data = wide.const_data_ptr<double>();
  to.insert(to.end(), data, data + wide.numel());
}

void append(Positions& to, const Positions& more) {
  to.nll.insert(to.nll.end(), more.nll.begin(), more.nll.end());
  to.reference_nll.insert(
      to.reference_nll.end(), more.reference_nll.begin(), more.reference_nll.end());
  to.kld.insert(to.kld.end(), more.kld.begin(), more.kld.end());
  to.same_top += more.same_top;
}

void PositionBytes::add(const Positions& p) {
  const int64_t counts[3] = {std::ssize(p.nll), std::ssize(p.kld), p.same_top};
  put(counts, sizeof counts);
  for (const std::vector<double>* values : {&p.nll, &p.reference_nll, &p.kld})
    put(values->data(), values->size() * sizeof(double));
}

Positions PositionBytes::next() {
  int64_t counts[3] = {};
  get(counts, sizeof counts);
  Positions p;
  p.nll.resize(static_cast<size_t>(counts[0]));
  p.reference_nll.resize(static_cast<size_t>(counts[1]));
  p.kld.resize(static_cast<size_t>(counts[1]));
  p.same_top = counts[2];
  for (std::vector<double>* values : {&p.nll, &p.reference_nll, &p.kld})
    get(values->data(), values->size() * sizeof(double));
  return p;
}

void PositionBytes::get(void* to, size_t size) {
  TORCH_CHECK(at_ + size <= bytes_.size(), "eval: another process measured fewer windows");
  if (size > 0)
    std::memcpy(to, bytes_.data() + at_, size);
  at_ += size;
}

Divergence divergence_of(const Positions& positions) {
  std::vector<double> sorted = positions.kld;
  std::sort(sorted.begin(), sorted.end());
  Divergence d;
  d.mean = mean_of(sorted);
  d.median = percentile(sorted, 0.5);
  d.p95 = percentile(sorted, 0.95);
  d.p99 = percentile(sorted, 0.99);
  d.p999 = percentile(sorted, 0.999);
  d.max = sorted.back();
  d.same_top = static_cast<double>(positions.same_top) / static_cast<double>(sorted.size());
  d.ppl_ratio = std::exp(mean_of(positions.nll) - mean_of(positions.reference_nll));
  return d;
}

void fill(const Positions& positions, EvalResult& result) {
  const auto n = static_cast<double>(positions.nll.size());
  result.predicted_tokens = static_cast<int64_t>(positions.nll.size());
  result.not_finite = std::count_if(
      positions.nll.begin(), positions.nll.end(), [](double x) { return !std::isfinite(x); });
  result.nll = mean_of(positions.nll);
  result.ppl = std::exp(result.nll);
  double squares = 0;
  for (const double x : positions.nll)
    squares += (x - result.nll) * (x - result.nll);
  if (n > 1)
    result.ppl_stderr = result.ppl * std::sqrt(squares / n / (n - 1));
}

}  // namespace sterna::eval
