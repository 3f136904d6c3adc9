#include "quant/uniform.h"

#include <cmath>
#include <limits>

#include "kernels/row_reduce.h"

namespace sterna::quant {

void Moments::merge(const Moments& other) {
  min = std::min(min, other.min);
  max = std::max(max, other.max);
  sum_abs += other.sum_abs;
  count += other.count;
}

float Moments::mean_abs() const {
  return static_cast<float>(sum_abs / static_cast<double>(std::max<int64_t>(count, 1)));
}

Moments moments(const float* w, int64_t n) {
  const kernels::MinMax ends = kernels::min_max(w, n);
  return {ends.min, ends.max, kernels::sum_abs(w, n, HUGE_VALF), n};
}

UniformLevels UniformLevels::symmetric(int64_t bits) {
  const auto top = static_cast<float>((int64_t{1} << (bits - 1)) - 1);
  return {bits, -top, top, 0, false};
}

UniformLevels UniformLevels::balanced(int64_t bits) {
  const auto half = static_cast<float>(int64_t{1} << (bits - 1));
  return {bits, -half, half - 1, 0.5f, false};
}

UniformLevels UniformLevels::signs(bool zero) {
  return zero ? UniformLevels{2, -1, 1, 0, true} : UniformLevels{1, -1, 0, 0.5f, true};
}

Encoded UniformCodes::empty(const Groups& groups) const {
  Encoded e = groups.encoded(levels_.bits, static_cast<int64_t>(levels_.lo), dtype_);
  e.offset = -static_cast<double>(levels_.shift);
  return e;
}

void UniformCodes::write(const float* w, int64_t n, float scale, int8_t* codes) const {
  constexpr float kUnclipped = std::numeric_limits<float>::infinity();
  if (levels_.sign && levels_.count() == 3)
    kernels::ternary_codes(w, n, kUnclipped, 0, codes);
  else if (levels_.sign)
    kernels::sign_codes(w, n, codes);  // a small weight would be lost against the shift
  else
    kernels::uniform_codes(w, n, {scale, levels_.lo, levels_.hi, levels_.shift}, 0, codes);
}

Encoded UniformCodes::encode_measured(const Tensor& w,
                                      const std::function<float(const Moments&)>& scale_of) const {
  const Groups groups = this->groups(w);
  Encoded e = empty(groups);
  const float* x = w.const_data_ptr<float>();
  auto* codes = e.codes.mutable_data_ptr<int8_t>();
  auto* scales = e.scales.mutable_data_ptr<float>();
  const int64_t n = groups.length();
  groups.by_scale(
      [&](const Run& run) { return moments(x + run.at, n); },
      [&](const Moments& m, int64_t at) { scales[at] = round_scale(scale_of(m), dtype_); },
      [&](const Run& run) { write(x + run.at, n, scales[run.scale], codes + run.at); });
  return e;
}

Encoded UniformCodes::encode_learned(const Tensor& w,
                                     const std::function<float(int64_t)>& scale_at) const {
  const Groups groups = this->groups(w);
  Encoded e = empty(groups);
  const float* x = w.const_data_ptr<float>();
  auto* codes = e.codes.mutable_data_ptr<int8_t>();
  auto* scales = e.scales.mutable_data_ptr<float>();
  for (int64_t at = 0; at < e.scales.numel(); ++at)
    scales[at] = round_scale(scale_at(at), dtype_);
  groups.each([&](const Run& run) {
    write(x + run.at, groups.length(), scales[run.scale], codes + run.at);
  });
  return e;
}

template <class Error>
float UniformCodes::first_scale(Init init, const Moments& m, const Error& error) const {
  // Whatever the weights, signs miss them least at their mean magnitude.
  if (levels_.sign)
    return m.mean_abs() / levels_.top();
  const float whole = m.abs_max() / levels_.top();
  if (searches(init))
    return whole * search_fraction(init, 1.0f, [&](float f) { return error(grid(f * whole)); });
  if (init == Init::kAbsmax)
    return whole;
  // An integer grid may have one level more below than above; the rules are for the even part.
  const auto integers = 2 * static_cast<int64_t>(levels_.hi) + 1;
  return mean_step(init, levels_.shift == 0 ? integers : levels_.count()) * m.mean_abs();
}

Tensor UniformCodes::first_scales(const Tensor& w, Init init) const {
  const Groups groups = this->groups(w);
  Tensor result = at::ones(groups.scales_shape());
  auto* first = result.mutable_data_ptr<float>();
  const float* x = w.const_data_ptr<float>();
  const int64_t n = groups.length();
  const auto measure = [&](const Run& run) { return moments(x + run.at, n); };
  const auto whole_error = [&](const kernels::UniformGrid& by) {
    return groups.total([&](const Run& run) { return kernels::uniform_error(x + run.at, n, by); });
  };
  if (groups.whole()) {
    groups.by_scale(
        measure,
        [&](const Moments& m, int64_t at) { first[at] = first_scale(init, m, whole_error); },
        [](const Run&) {});
    return result;
  }
  groups.each([&](const Run& run) {
    first[run.scale] = first_scale(init, measure(run), [&](const kernels::UniformGrid& by) {
      return static_cast<double>(kernels::uniform_error(x + run.at, n, by));
    });
  });
  return result;
}

void UniformCodes::check_ready(const Tensor& learned, const Tensor& w) const {
  TORCH_CHECK(learned.defined(), method_, ": init() must come before encode()");
  const auto expected = groups(w).scales_shape();
  TORCH_CHECK(learned.sizes() == at::IntArrayRef(expected),
              method_,
              ": init() saw a matrix with scales ",
              learned.sizes(),
              ", this one has ",
              at::IntArrayRef(expected));
}

}  // namespace sterna::quant
