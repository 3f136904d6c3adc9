#include "kernels/attend.h"

#include <cmath>

#include "tests/kernels/rows.h"

namespace sterna::kernels {
namespace {

using Attend = EveryCpu;

/// One head in double.
template <class T>
std::vector<double> exact_head(const AttendShape& shape,
                               const T* q,
                               const std::vector<T>& keys,
                               const std::vector<T>& values) {
  const auto width = static_cast<size_t>(shape.width);
  std::vector<double> weights, out(width);
  double largest = -INFINITY, sum = 0;
  for (size_t s = 0; s < keys.size() / width; ++s) {
    double dot = 0;
    for (size_t i = 0; i < width; ++i)
      dot += double{widen(q[i])} * widen(keys[s * width + i]);
    weights.push_back(dot * shape.scale);
    largest = std::max(largest, weights.back());
  }
  for (double& weight : weights)
    sum += weight = std::exp(weight - largest);
  for (size_t s = 0; s < weights.size(); ++s)
    for (size_t i = 0; i < width; ++i)
      out[i] += weights[s] / sum * widen(values[s * width + i]);
  return out;
}

template <class T>
void expect_attention(CpuLevel level, const AttendShape& shape) {
  const auto q = as<T>(heavy_tailed(shape.heads * shape.width, 1));
  const auto keys = as<T>(heavy_tailed(shape.slots * shape.width, 2));
  const auto values = as<T>(heavy_tailed(shape.slots * shape.width, 3));
  std::vector<float> scratch(static_cast<size_t>(attend_scratch(shape)));
  std::vector<T> out(q.size() + 1, as<T>({7})[0]);
  attend(shape, q.data(), keys.data(), values.data(), scratch.data(), out.data(), level);
  for (int64_t h = 0; h < shape.heads; ++h) {
    const auto exact = exact_head(shape, q.data() + h * shape.width, keys, values);
    double most = 0;
    for (const double x : exact)
      most = std::max(most, std::abs(x));
    for (size_t i = 0; i < exact.size(); ++i)
      EXPECT_NEAR(widen(out[static_cast<size_t>(h * shape.width) + i]),
                  exact[i],
                  (kRounding<T> + 1e-5) * most)
          << h << " " << i;
  }
  EXPECT_EQ(widen(out.back()), 7) << "written beyond the end";
}

TEST_P(Attend, EqualsTheDefinitionInDoublePrecisionAtEveryRemainder) {
  for (const int64_t width : {5, 8, 48, 64, 72, 128})
    for (const int64_t slots : {1, 2, 15, 16, 100})
      for (const int64_t heads : {1, 3}) {
        const AttendShape shape{heads, slots, width, 0.3f / std::sqrt(static_cast<float>(width))};
        SCOPED_TRACE(std::to_string(width) + " wide, " + std::to_string(slots) + " slots");
        expect_attention<float>(GetParam(), shape);
        expect_attention<Bf16>(GetParam(), shape);
      }
}

TEST_P(Attend, ScoresThatTowerOverTheRestAreNoOverflow) {
  const AttendShape shape{1, 3, 8, 1.0f};
  const std::vector<float> q(8, 100.0f),
      values = {1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3};
  std::vector<float> keys(24, 100.0f), scratch(3), out(8);
  std::fill_n(keys.begin() + 8, 8, 200.0f);
  attend(shape, q.data(), keys.data(), values.data(), scratch.data(), out.data(), GetParam());
  for (const float x : out)
    EXPECT_EQ(x, 2.0f);
}

STERNA_ON_EVERY_CPU(Attend);

}  // namespace
}  // namespace sterna::kernels
