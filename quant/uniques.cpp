#include "quant/uniques.h"

#include <algorithm>
#include <cmath>

namespace sterna::quant {
namespace {

constexpr size_t kPatterns = 1 << 16;
constexpr uint16_t kSign = 0x8000;

/// The bits of a bf16 number, turned so that they ascend as numbers do; -0 comes before 0.
uint16_t key_of(float w) {
  const uint16_t bits = static_cast<at::BFloat16>(w).x;
  return static_cast<uint16_t>((bits & kSign) != 0 ? ~bits : bits | kSign);
}

double value_of(uint16_t key) {
  const auto bits = static_cast<uint16_t>((key & kSign) != 0 ? key & ~kSign : ~key);
  return static_cast<double>(static_cast<float>(at::BFloat16(bits, at::BFloat16::from_bits())));
}

}  // namespace

void Uniques::add(uint16_t key, double count) {
  keys_.push_back(key);
  values.push_back(value_of(key));
  counts.push_back(count);
}

Uniques::Uniques(const float* w, int64_t n) {
  std::vector<uint16_t> all(static_cast<size_t>(n));
  std::transform(w, w + n, all.begin(), key_of);
  std::sort(all.begin(), all.end());
  for (const uint16_t key : all) {
    if (keys_.empty() || keys_.back() != key)
      add(key, 0);
    ++counts.back();
  }
}

Uniques::Uniques(const float* w, const Groups& groups) {
  std::vector<int64_t> histogram(kPatterns);
  const int64_t n = groups.rows() * groups.runs_per_row() * groups.length();
  for (int64_t i = 0; i < n; ++i)
    ++histogram[key_of(w[i])];
  where_.resize(kPatterns);
  for (size_t key = 0; key < kPatterns; ++key) {
    if (histogram[key] == 0)
      continue;
    where_[key] = static_cast<uint16_t>(keys_.size());
    add(static_cast<uint16_t>(key), static_cast<double>(histogram[key]));
  }
}

size_t Uniques::index(float w) const {
  const uint16_t key = key_of(w);
  if (!where_.empty())
    return where_[key];
  return static_cast<size_t>(std::lower_bound(keys_.begin(), keys_.end(), key) - keys_.begin());
}

double Uniques::mean_abs() const {
  double sum = 0;
  double weights = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    sum += counts[i] * std::abs(values[i]);
    weights += counts[i];
  }
  return weights > 0 ? sum / weights : 0;
}

}  // namespace sterna::quant
