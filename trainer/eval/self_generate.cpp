#include "trainer/eval/self_generate.h"

#include <algorithm>

#include "distill/draw.h"
#include "trainer/data/permutation.h"

namespace sterna::eval {
namespace {

using at::Tensor;

// Draws of a sequence are told apart by where they decide: 0 is the number of greedy tokens.
constexpr int64_t kHowManyGreedy = 0;

int32_t first_of(const SelfGeneration& wanted, int64_t sequence) {
  const auto words = std::ssize(wanted.first);
  const data::Permutation order(words, wanted.seed, sequence / words);
  return wanted.first[static_cast<size_t>(order.at(sequence % words))];
}

int64_t greedy_of(const SelfGeneration& wanted, int64_t sequence) {
  const int64_t choices = wanted.greedy_most - wanted.greedy_least + 1;
  const double drawn = distill::draw(wanted.seed, 0, sequence, kHowManyGreedy);
  return wanted.greedy_least + static_cast<int64_t>(drawn * static_cast<double>(choices));
}

/// The word at which the probabilities add up to more than `drawn`.
int64_t sample(const Tensor& logits, double temperature, double drawn) {
  const Tensor sums = (logits.to(at::kDouble) / temperature).softmax(-1).cumsum(-1);
  const double* sum = sums.const_data_ptr<double>();
  const auto words = sums.numel();
  const double* found = std::upper_bound(sum, sum + words, drawn * sum[words - 1]);
  return std::min<int64_t>(found - sum, words - 1);
}

/// Sequences [first, first + count), side by side.
class Writers {
 public:
  Writers(const SelfGeneration& wanted, int64_t first, int64_t count)
      : wanted_(wanted), number_(first), made_(static_cast<size_t>(count)) {
    for (int64_t b = 0; b < count; ++b)
      push(b, first_of(wanted, first + b));
  }

  bool done() const { return open_ == 0; }

  /// int64 [B, 1]: each sequence's last token; of one that has ended, a token that nobody sees.
  Tensor last() const {
    Tensor ids = at::empty({std::ssize(made_), 1}, at::kLong);
    for (size_t b = 0; b < made_.size(); ++b)
      ids.mutable_data_ptr<int64_t>()[b] = made_[b].ids.back();
    return ids;
  }

  /// @param logits  [B, V]
  void go_on(const Tensor& logits, int64_t position) {
    for (int64_t b = 0; b < std::ssize(made_); ++b)
      if (!made_[static_cast<size_t>(b)].ended)
        push(b, choose(logits[b], number_ + b, position));
  }

  const std::vector<int32_t>& ids(size_t b) const { return made_[b].ids; }

 private:
  struct Sequence {
    std::vector<int32_t> ids;
    bool ended = false;
  };

  int64_t choose(const Tensor& logits, int64_t sequence, int64_t position) const {
    if (wanted_.temperature <= 0 || position <= greedy_of(wanted_, sequence))
      return logits.argmax().item<int64_t>();
    const double drawn = distill::draw(wanted_.seed, 0, sequence, position);
    return sample(logits, wanted_.temperature, drawn);
  }

  void push(int64_t b, int64_t id) {
    Sequence& made = made_[static_cast<size_t>(b)];
    open_ += made.ids.empty() ? 1 : 0;
    made.ids.push_back(static_cast<int32_t>(id));
    const bool stops =
        std::find(wanted_.stop.begin(), wanted_.stop.end(), id) != wanted_.stop.end();
    made.ended = stops || std::ssize(made.ids) >= wanted_.length;
    open_ -= made.ended ? 1 : 0;
  }

  const SelfGeneration& wanted_;
  int64_t number_;
  std::vector<Sequence> made_;
  int64_t open_ = 0;
};

}  // namespace

void self_generate(const model::Decoder& decoder,
                   const SelfGeneration& wanted,
                   const std::function<void(std::span<const int32_t>)>& take) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(!wanted.first.empty(), "self_generate: no word may begin a sequence");
  TORCH_CHECK(wanted.vocab > 0 && wanted.vocab <= decoder.config().vocab,
              "self_generate: expected a vocabulary that the model has, got ",
              wanted.vocab);
  TORCH_CHECK(wanted.length <= decoder.config().max_positions,
              "self_generate: sequences are longer than the model's positions");
  for (int64_t first = 0; first < wanted.sequences; first += wanted.batch) {
    Writers writers(wanted, first, std::min(wanted.batch, wanted.sequences - first));
    const auto cache = kvcache::make_full(decoder.attention());
    for (int64_t position = 1; !writers.done(); ++position) {
      const Tensor ids = writers.last();
      const Tensor at_positions = at::full({1}, position - 1, at::kLong);
      const Tensor hidden = decoder.hidden(ids, at_positions, *cache).select(1, 0);
      writers.go_on(decoder.head(hidden).narrow(1, 0, wanted.vocab), position);
    }
    for (size_t b = 0; b < static_cast<size_t>(std::min(wanted.batch, wanted.sequences - first));
         ++b)
      take(writers.ids(b));
  }
}

}  // namespace sterna::eval
