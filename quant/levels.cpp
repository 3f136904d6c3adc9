#include "quant/levels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace sterna::quant {
namespace {

/// Whether the tie between two neighbouring levels goes to the upper one.
bool upper_wins(float lower, float upper) {
  const bool lower_whole = lower == std::rint(lower);
  const bool upper_whole = upper == std::rint(upper);
  if (lower_whole != upper_whole)
    return upper_whole;
  return std::fmod(upper, 2.0f) == 0;
}

}  // namespace

LevelTable::LevelTable(std::vector<float> ascending, Ties ties) : levels(std::move(ascending)) {
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    float middle = (levels[i] + levels[i + 1]) / 2;
    if (ties == Ties::kEven && upper_wins(levels[i], levels[i + 1]))
      middle = std::nextafter(middle, -std::numeric_limits<float>::infinity());
    thresholds.push_back(middle);
  }
}

LevelQuantizer::LevelQuantizer(const Settings& settings, std::vector<LevelTable> tables)
    : settings_(settings),
      init_(parse_init(settings.init)),
      dtype_(parse_dtype(settings.scale_dtype)),
      tables_(std::move(tables)) {
  std::vector<Tensor> rows;
  for (const LevelTable& table : tables_)
    rows.push_back(at::tensor(table.levels));
  levels_ = tables_.size() == 1 ? rows[0] : at::stack(rows);
}

void LevelQuantizer::allocate(const Tensor& w) {
  if (searches(init_))
    clip_ = at::ones(Groups(settings_.method, w, settings_.group).scales_shape());
}

double LevelQuantizer::error(const float* w, int64_t n, const Fit& by) const {
  const LevelTable& table = tables_[by.table];
  const float scale = round_scale(by.scale, dtype_);
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const float v = w[i] / scale;
    size_t code = 0;
    for (const float threshold : table.thresholds)
      code += v > threshold ? 1 : 0;
    const double miss = static_cast<double>(table.levels[code]) * scale - w[i];
    sum += miss * miss;
  }
  return sum;
}

void LevelQuantizer::init(const Tensor& w) {
  allocate(w);
  if (!searches(init_))
    return;
  const Groups groups(settings_.method, w, settings_.group);
  auto* clip = clip_.mutable_data_ptr<float>();
  const float* x = w.const_data_ptr<float>();
  const int64_t n = groups.length();
  const auto measure = [&](const Run& run) { return moments(x + run.at, n); };
  if (groups.whole()) {
    groups.by_scale(
        measure,
        [&](const Moments& m, int64_t at) {
          clip[at] = search_fraction(init_, 1.0f, [&](float f) {
            return groups.total([&](const Run& run) { return error(x + run.at, n, fit(m, f)); });
          });
        },
        [](const Run&) {});
    return;
  }
  groups.each([&](const Run& run) {
    const Moments m = measure(run);
    clip[run.scale] =
        search_fraction(init_, 1.0f, [&](float f) { return error(x + run.at, n, fit(m, f)); });
  });
}

Encoded LevelQuantizer::encode(const Tensor& w) const {
  const Groups groups(settings_.method, w, settings_.group);
  Encoded e = groups.encoded(settings_.bits, /*code_min=*/0, dtype_);
  e.grid = Grid::kLevels;
  e.levels = levels_;
  if (tables_.size() > 1)
    e.zeros = at::zeros_like(e.scales);
  const float* x = w.const_data_ptr<float>();
  const float* clip = clip_.defined() ? clip_.const_data_ptr<float>() : nullptr;
  auto* codes = e.codes.mutable_data_ptr<int8_t>();
  auto* scales = e.scales.mutable_data_ptr<float>();
  auto* tables = e.zeros.defined() ? e.zeros.mutable_data_ptr<float>() : nullptr;
  const int64_t n = groups.length();
  groups.by_scale([&](const Run& run) { return moments(x + run.at, n); },
                  [&](const Moments& m, int64_t at) {
                    const Fit by = fit(m, clip != nullptr ? clip[at] : 1.0f);
                    scales[at] = round_scale(by.scale, dtype_);
                    if (tables != nullptr)
                      tables[at] = static_cast<float>(by.table);
                  },
                  [&](const Run& run) {
                    const auto row =
                        tables != nullptr ? static_cast<size_t>(tables[run.scale]) : size_t{0};
                    const std::vector<float>& thresholds = tables_[row].thresholds;
                    kernels::level_codes(x + run.at,
                                         n,
                                         scales[run.scale],
                                         thresholds.data(),
                                         static_cast<int64_t>(thresholds.size()),
                                         codes + run.at);
                  });
  return e;
}

Gradients LevelQuantizer::backward(const Tensor& w, const Tensor& gwq) const {
  (void)w;
  return {gwq, {}};
}

std::vector<NamedTensor> LevelQuantizer::buffers() {
  if (!clip_.defined())
    return {};
  return {{"clip", clip_}};
}

}  // namespace sterna::quant
