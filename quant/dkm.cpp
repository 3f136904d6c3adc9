// Differentiable k-means (DKM, Cho et al., arXiv:2108.12659) with the uniquification of eDKM
// (arXiv:2309.00964): 2^bits centroids per codebook; training computes with a soft assignment of
// the weights to them (quant/soft_means.h), everything else with the nearest one.
//
//   u = bf16(w),  temperature and tolerance in units of mean |u|
//                 (a constant for the gradient)
//   in training   wq = sum_j a_j(u) c_j,  c carried on from step to step by `iterations` of soft
//                 k-means; dw through all of them, straight through the rounding to bf16
//   else          wq = nearest c, c rounded to `scale_dtype`;  dw = g
//
// Differences from the papers: the first centroids are those of hard k-means from the quantiles
// instead of k-means++ (no draw); the temperature is relative, so that one serves models of any
// size of weights; and the map is not stored but computed anew in backward, a row for each distinct
// bf16 value, which with closed forms leaves nothing to shard or to move to the host.

#include <cmath>

#include "quant/levels.h"
#include "quant/soft_means.h"
#include "quant/soft_quantizer.h"

namespace sterna::quant {
namespace {

constexpr double kSmallestUnit = 1e-30;  // all-zero weights

/// A centroid as the level table holds it: of two bytes, exact in bf16 and fp16 alike.
float round_level(float c, at::ScalarType dtype) {
  if (dtype == at::kFloat || std::abs(c) < 0x1p-15f)
    return dtype == at::kFloat ? c : 0.0f;
  return std::copysign(round_scale(std::abs(c), dtype), c);
}

class Dkm final : public SoftQuantizer {
 public:
  struct Config {
    int64_t bits = 2;
    int64_t group = -1;
    double temperature = 0.1;
    int64_t iterations = 5;
    double tolerance = 1e-4;
    std::string scale_dtype = "bf16";

    template <class Visitor>
    void fields(Visitor& v) {
      v("bits", bits, "2^bits centroids", recipes::Range<int64_t>{1, 4});
      v("group",
        group,
        "inputs per codebook; 0 = row, -1 = whole matrix",
        recipes::Range<int64_t>{-1, 1 << 20});
      v("temperature",
        temperature,
        "softness of the assignment in training, in units of mean |w|",
        recipes::Range{1e-4, 10.0});
      v("iterations",
        iterations,
        "of soft k-means in a step, at most",
        recipes::Range<int64_t>{1, 100});
      v("tolerance",
        tolerance,
        "they end when no centroid moves further, in units of mean |w|",
        recipes::Range{0.0, 1.0});
      v("scale_dtype", scale_dtype, "what centroids are rounded to", kScaleDtypes);
    }
  };

  explicit Dkm(const Config& config)
      : config_(config), dtype_(parse_dtype(config.scale_dtype)), k_(int64_t{1} << config.bits) {}

  void allocate(const Tensor& w) override { centroids_ = at::zeros({groups(w).scales(), k_}); }

  void init(const Tensor& w) override {
    allocate(w);
    each_codebook(w, [&](const Uniques& weights, int64_t at, const auto&) {
      store(hard_means(weights, k_), at);
    });
  }

  Tensor soft_value(const Tensor& w, const Progress& at) const override {
    check_ready(w);
    if (at.over())
      return {};
    Tensor value = at::empty_like(w);
    const float* x = w.const_data_ptr<float>();
    auto* out = value.mutable_data_ptr<float>();
    each_codebook(w, [&](const Uniques& weights, int64_t book, const auto& each_weight) {
      const std::vector<float> table = means(weights, book).values();
      each_weight([&](int64_t i) { out[i] = table[weights.index(x[i])]; });
    });
    return value;
  }

  Gradients backward(const Tensor& w, const Tensor& gwq) const override {
    (void)w;
    return {gwq, {}};
  }

  Gradients soft_backward(const Tensor& w, const Tensor& gwq, const Progress& at) const override {
    check_ready(w);
    if (at.over())
      return backward(w, gwq);
    Gradients result{at::empty_like(w), {}};
    const float* x = w.const_data_ptr<float>();
    const float* g = gwq.const_data_ptr<float>();
    auto* dw = result.w.mutable_data_ptr<float>();
    each_codebook(w, [&](const Uniques& weights, int64_t book, const auto& each_weight) {
      std::vector<double> sums(weights.values.size());
      // Not in parallel: the order of the sum decides its bits.
      const auto [begin, end] = weights_of(w, book);
      for (int64_t i = begin; i < end; ++i)
        sums[weights.index(x[i])] += g[i];
      const SoftMeans::Pull pull = means(weights, book).backward(sums);
      each_weight([&](int64_t i) {
        const size_t value = weights.index(x[i]);
        dw[i] = pull.slope[value] * g[i] + pull.offset[value];
      });
    });
    return result;
  }

  void advance(const Tensor& w, const Progress& at) override {
    check_ready(w);
    if (at.over())
      return;
    each_codebook(w, [&](const Uniques& weights, int64_t book, const auto&) {
      store(means(weights, book).centroids(), book);
    });
  }

  Encoded encode(const Tensor& w) const override {
    check_ready(w);
    const Groups groups = this->groups(w);
    Encoded e = groups.encoded(config_.bits, /*code_min=*/0, dtype_);
    e.grid = Grid::kLevels;
    e.scales.fill_(1);
    const std::vector<LevelTable> tables = level_tables();
    if (groups.whole()) {
      e.levels = at::tensor(tables[0].levels);
    } else {
      e.zeros = at::arange(groups.scales(), at::kFloat).view(groups.scales_shape());
      e.levels = at::empty({groups.scales(), k_});
      for (size_t i = 0; i < tables.size(); ++i)
        std::copy_n(tables[i].levels.begin(), k_, e.levels[i].mutable_data_ptr<float>());
    }
    const float* x = w.const_data_ptr<float>();
    auto* codes = e.codes.mutable_data_ptr<int8_t>();
    groups.each([&](const Run& run) {
      const std::vector<float>& thresholds = tables[run.scale].thresholds;
      kernels::level_codes(
          x + run.at, groups.length(), 1.0f, thresholds.data(), k_ - 1, codes + run.at);
    });
    return e;
  }

  std::vector<NamedTensor> buffers() override { return {{"centroids", centroids_}}; }

  int64_t max_levels() const override { return k_; }
  int64_t bits() const override { return config_.bits; }
  int64_t group(int64_t k) const override { return inputs_per_scale(config_.group, k); }
  bool by_row(int64_t) const override { return false; }  // codes name tables of the whole matrix

 private:
  Groups groups(const Tensor& w) const { return {"dkm", w, config_.group}; }

  /// First weight of a codebook and one past the last; they lie side by side.
  std::pair<int64_t, int64_t> weights_of(const Tensor& w, int64_t book) const {
    const int64_t length = groups(w).weights_per_scale();
    return {book * length, (book + 1) * length};
  }

  /// body(weights, codebook, each_weight) for every codebook; each_weight(f) calls f(i) for every
  /// one of its weights.
  template <class Body>
  void each_codebook(const Tensor& w, const Body& body) const {
    constexpr int64_t kWeightsPerTask = 1 << 14;
    const Groups groups = this->groups(w);
    const float* x = w.const_data_ptr<float>();
    if (groups.whole()) {
      const Uniques weights(x, groups);
      body(weights, 0, [&](const auto& f) {
        at::parallel_for(0, w.numel(), kWeightsPerTask, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i)
            f(i);
        });
      });
      return;
    }
    groups.each([&](const Run& run) {
      body(Uniques(x + run.at, groups.length()), run.scale, [&](const auto& f) {
        for (int64_t i = run.at; i < run.at + groups.length(); ++i)
          f(i);
      });
    });
  }

  /// Soft k-means from where the last step left the centroids.
  SoftMeans means(const Uniques& weights, int64_t book) const {
    const float* from = centroids_.const_data_ptr<float>() + book * k_;
    const double unit = std::max(weights.mean_abs(), kSmallestUnit);
    return {weights,
            Centroids(from, from + k_),
            {config_.temperature * unit, config_.iterations, config_.tolerance * unit}};
  }

  void store(const Centroids& centroids, int64_t book) {
    std::transform(centroids.begin(),
                   centroids.end(),
                   centroids_.mutable_data_ptr<float>() + book * k_,
                   [](double c) { return static_cast<float>(c); });
  }

  std::vector<LevelTable> level_tables() const {
    std::vector<LevelTable> tables;
    const float* from = centroids_.const_data_ptr<float>();
    for (int64_t book = 0; book < centroids_.size(0); ++book) {
      std::vector<float> levels(from + book * k_, from + (book + 1) * k_);
      for (float& level : levels)
        level = round_level(level, dtype_);
      std::sort(levels.begin(), levels.end());
      tables.emplace_back(std::move(levels), Ties::kLower);
    }
    return tables;
  }

  void check_ready(const Tensor& w) const {
    const int64_t books = groups(w).scales();
    TORCH_CHECK(centroids_.defined(), "dkm: init() must come before encode()");
    TORCH_CHECK(centroids_.size(0) == books,
                "dkm: init() saw a matrix with ",
                centroids_.size(0),
                " codebooks, this one has ",
                books);
  }

  Config config_;
  at::ScalarType dtype_;
  int64_t k_;
  Tensor centroids_;  // fp32 [codebooks, 2^bits]
};

}  // namespace

void add_dkm(recipes::Registry<Quantizer>& r) {
  r.add<Dkm>("dkm", "levels found by differentiable k-means (DKM, arXiv:2108.12659; eDKM)");
}

}  // namespace sterna::quant
