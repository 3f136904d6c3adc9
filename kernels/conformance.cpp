// dINT (AQAS, EMNLP 2023, arXiv:2311.05161) as in quant/dint.cpp: integers and two half steps.
// Expected values are worked out here from the levels, not by any kernel.
#include "kernels/conformance.h"

#include <algorithm>

#include "kernels/matmul.h"
#include "kernels/mix.h"

namespace sterna::kernels {
namespace {

std::vector<float> half_stepped(int64_t from, int64_t to) {
  std::vector<float> levels{-0.5f, 0.5f};
  for (int64_t i = from; i <= to; ++i)
    levels.push_back(static_cast<float>(i));
  std::sort(levels.begin(), levels.end());
  return levels;
}

std::vector<std::vector<float>> tables(int64_t bits, bool symmetric) {
  if (symmetric) {
    const int64_t reach = (int64_t{1} << (bits - 1)) - 2;
    return {half_stepped(-reach, reach)};
  }
  const int64_t integers = (int64_t{1} << bits) - 3;
  std::vector<std::vector<float>> all;
  for (int64_t zero = 0; zero <= integers; ++zero)
    all.push_back(half_stepped(-zero, integers - zero));
  return all;
}

struct Wanted {
  int64_t bits;
  bool symmetric;
  int64_t m, n, k, group;
  bool extreme;  ///< only the outermost codes and activations
};

class Maker {
 public:
  explicit Maker(const Wanted& wanted) : wanted_(wanted) {
    v_.bits = wanted.bits;
    v_.m = wanted.m;
    v_.n = wanted.n;
    v_.k = wanted.k;
    v_.group = wanted.group;
    v_.levels = tables(wanted.bits, wanted.symmetric);
    v_.name =
        "dint" + std::to_string(wanted.bits) + (wanted.symmetric ? " symmetric" : " asymmetric") +
        ", K " + std::to_string(wanted.k) + ", " +
        (wanted.group == wanted.k ? "a scale a row" : "groups of " + std::to_string(wanted.group)) +
        (wanted.extreme ? ", outermost" : "");
  }

  DintVector make() {
    draw_weights();
    draw_activations();
    for (int64_t m = 0; m < v_.m; ++m)
      for (int64_t n = 0; n < v_.n; ++n)
        v_.y.push_back(output(m, n));
    return std::move(v_);
  }

 private:
  int64_t below(int64_t count) {
    return static_cast<int64_t>(mix(drawn_++) % static_cast<uint64_t>(count));
  }
  int64_t groups() const { return v_.k / v_.group; }

  void draw_weights() {
    const auto levels = static_cast<int64_t>(v_.levels[0].size());
    for (int64_t i = 0; i < v_.n * v_.k; ++i) {
      // Every code in turn to begin with, so that a short set has them all.
      const int64_t code = wanted_.extreme ? (levels - 1) * below(2)
                           : i < levels    ? i
                                           : below(levels);
      v_.codes.push_back(static_cast<int8_t>(code));
    }
    for (int64_t i = 0; i < v_.n * groups(); ++i) {
      v_.scales.push_back(static_cast<float>(128 + below(128)) * 0x1p-12f);
      v_.zeros.push_back(static_cast<int32_t>(i % static_cast<int64_t>(v_.levels.size())));
    }
  }

  void draw_activations() {
    for (int64_t m = 0; m < v_.m; ++m) {
      for (int64_t i = 0; i < v_.k; ++i) {
        const int64_t code = wanted_.extreme ? 127 - 255 * below(2) : below(256) - 128;
        v_.x.push_back(static_cast<int8_t>(m == 1 ? 0 : code));
      }
      v_.x_scales.push_back(static_cast<float>(1 + below(1000)) / 8191);
    }
  }

  float output(int64_t m, int64_t n) {
    float y = 0;
    for (int64_t g = 0; g < groups(); ++g) {
      const auto at = static_cast<size_t>(n * groups() + g);
      const std::vector<float>& levels = v_.levels[static_cast<size_t>(v_.zeros[at])];
      int32_t sum = 0;
      for (int64_t i = g * v_.group; i < (g + 1) * v_.group; ++i) {
        const auto code = static_cast<size_t>(v_.codes[static_cast<size_t>(n * v_.k + i)]);
        sum += static_cast<int32_t>(2 * levels[code]) * v_.x[static_cast<size_t>(m * v_.k + i)];
      }
      v_.sums.push_back(sum);
      const float scale = v_.scales[at] / 2 * v_.x_scales[static_cast<size_t>(m)];
      y += static_cast<float>(sum) * scale;
    }
    return y;
  }

  Wanted wanted_;
  DintVector v_;
  uint64_t drawn_ = 0;
};

}  // namespace

std::vector<DintVector> dint_vectors() {
  std::vector<DintVector> all;
  for (const int64_t bits : {3, 4}) {
    for (const bool symmetric : {true, false}) {
      for (const Wanted& each : {Wanted{bits, symmetric, 1, 1, 1, 1, false},
                                 Wanted{bits, symmetric, 3, 20, 50, 50, false},
                                 Wanted{bits, symmetric, 3, 17, 96, 32, false},
                                 Wanted{bits, symmetric, 3, 16, 256, 128, false},
                                 Wanted{bits, symmetric, 1, 2, 16384, 16384, true}})
        all.push_back(Maker(each).make());
    }
  }
  return all;
}

bool conforms(const DintVector& v, CpuLevel level) {
  std::vector<float> levels, zeros(v.zeros.begin(), v.zeros.end());
  for (const std::vector<float>& row : v.levels)
    levels.insert(levels.end(), row.begin(), row.end());
  WeightCodes codes;
  codes.n = v.n;
  codes.k = v.k;
  codes.group = v.group;
  codes.bits = v.bits;
  codes.codes = v.codes.data();
  codes.scales = v.scales.data();
  codes.zeros = v.levels.size() > 1 ? zeros.data() : nullptr;
  codes.levels = levels.data();
  codes.level_count = static_cast<int64_t>(v.levels[0].size());
  codes.level_rows = static_cast<int64_t>(v.levels.size());
  PackedMatrix w;
  if (plan_packing(codes, &w) != Status::kOk)
    return false;
  std::vector<uint8_t> panels(static_cast<size_t>(w.bytes()));
  pack(codes, w, panels.data());
  w.panels = panels.data();

  const int64_t stride = activation_stride(v.k), groups = v.k / v.group;
  std::vector<int8_t> x(static_cast<size_t>(v.m * stride));
  std::vector<int32_t> sums(static_cast<size_t>(v.m * groups));
  for (int64_t m = 0; m < v.m; ++m) {
    for (int64_t i = 0; i < v.k; ++i) {
      x[static_cast<size_t>(m * stride + i)] = v.x[static_cast<size_t>(m * v.k + i)];
      sums[static_cast<size_t>(m * groups + i / v.group)] += v.x[static_cast<size_t>(m * v.k + i)];
    }
  }
  std::vector<float> y(v.y.size());
  const QuantizedRows rows{v.m, v.k, v.group, x.data(), v.x_scales.data(), sums.data()};
  return matmul_a8(w, rows, {0, v.n}, y.data(), level) == Status::kOk && y == v.y;
}

}  // namespace sterna::kernels
