#include "trainer/data/blend.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "trainer/data/permutation.h"
#include "trainer/io/sha256.h"

namespace sterna::data {
namespace {

class Blend final : public SampleSource {
 public:
  Blend(std::vector<BlendShare> shares, int64_t seed) : shares_(std::move(shares)), seed_(seed) {
    io::Sha256 hash;
    for (const BlendShare& share : shares_) {
      hash.update(std::to_string(share.count) + ":" + share.source->fingerprint());
      if (!share.source->note().empty())
        note_ += (note_.empty() ? "" : "\n") + share.source->note();
    }
    fingerprint_ = hash.hex();
  }

  int64_t size() const override { return sum(&SampleSource::size); }
  int64_t tokens() const override { return sum(&SampleSource::tokens); }
  const std::string& fingerprint() const override { return fingerprint_; }
  const std::string& note() const override { return note_; }

  Sample at(int64_t index) const override {
    if (index < 0)
      throw std::out_of_range("SampleSource: index " + std::to_string(index));
    const int64_t block = index / kBlendBlock;
    int64_t slot = Permutation(kBlendBlock, seed_, block).at(index % kBlendBlock);
    for (const BlendShare& share : shares_) {
      if (slot < share.count)
        return share.source->at(block * share.count + slot);
      slot -= share.count;
    }
    throw std::logic_error("Blend: the shares are less than a block");
  }

 private:
  int64_t sum(int64_t (SampleSource::*count)() const) const {
    return std::accumulate(
        shares_.begin(), shares_.end(), int64_t{0}, [&](int64_t total, const BlendShare& share) {
          return total + (share.source.get()->*count)();
        });
  }

  std::vector<BlendShare> shares_;
  int64_t seed_;
  std::string fingerprint_;
  std::string note_;
};

}  // namespace

std::vector<int64_t> blend_counts(const std::vector<double>& weights) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<int64_t> counts;
  std::vector<std::pair<double, size_t>> remainders;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double exact = weights[i] / total * static_cast<double>(kBlendBlock);
    counts.push_back(static_cast<int64_t>(std::floor(exact + 1e-9)));
    remainders.emplace_back(static_cast<double>(counts.back()) - exact, i);
  }
  std::sort(remainders.begin(), remainders.end());
  const int64_t left = kBlendBlock - std::accumulate(counts.begin(), counts.end(), int64_t{0});
  for (int64_t i = 0; i < left; ++i)
    ++counts[remainders[static_cast<size_t>(i)].second];
  return counts;
}

std::unique_ptr<SampleSource> make_blend(std::vector<BlendShare> shares, int64_t seed) {
  return std::make_unique<Blend>(std::move(shares), seed);
}

}  // namespace sterna::data
