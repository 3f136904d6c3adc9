#include "trainer/data/packing.h"

#include <algorithm>
#include <vector>

namespace sterna::data {
namespace {

class Cut final : public Packing {
 public:
  Cut(const TokenCache& tokens, int64_t seq_len) : tokens_(tokens), seq_len_(seq_len) {}

  int64_t size() const override { return std::max<int64_t>(tokens_.size() - 1, 0) / seq_len_; }

  Sample at(int64_t place) const override {
    const int64_t begin = place * seq_len_;
    const int64_t first = tokens_.document_of(begin);
    int64_t document = first;
    Sample sample;
    for (int64_t i = begin; i <= begin + seq_len_; ++i) {
      document += i == tokens_.end_of(document) ? 1 : 0;
      sample.ids.push_back(tokens_.at(i));
      sample.documents.push_back(static_cast<int32_t>(document - first));
      if (i > begin)
        sample.loss.push_back(tokens_.is_target(i) ? 1 : 0);
    }
    return sample;
  }

 private:
  const TokenCache& tokens_;
  int64_t seq_len_;
};

class Whole final : public Packing {
 public:
  Whole(const TokenCache& tokens, int64_t seq_len, int32_t filler)
      : tokens_(tokens), room_(seq_len + 1), filler_(filler) {
    int64_t left = 0;
    for (int64_t i = 0; i < tokens_.documents(); ++i) {
      const int64_t length = std::min(end_of(i) - begin_of(i), room_);
      if (!has_target(i, length)) {
        ++silent_;
        continue;
      }
      cut_ += end_of(i) - begin_of(i) > room_ ? 1 : 0;
      if (length > left) {
        rows_.push_back(documents_.size());
        left = room_;
      }
      documents_.push_back(i);
      left -= length;
    }
    rows_.push_back(documents_.size());
  }

  int64_t size() const override { return std::ssize(rows_) - 1; }

  Sample at(int64_t place) const override {
    const auto row = static_cast<size_t>(place);
    Sample sample;
    for (size_t d = rows_[row]; d < rows_[row + 1]; ++d)
      append(documents_[d], static_cast<int32_t>(d - rows_[row]), sample);
    const auto rest = static_cast<int32_t>(rows_[row + 1] - rows_[row]);
    const auto room = static_cast<size_t>(room_);
    sample.ids.resize(room, filler_);
    sample.loss.resize(room, 0);
    sample.documents.resize(room, rest);
    sample.loss.erase(sample.loss.begin());  // nothing predicts the first id
    return sample;
  }

  std::string note() const override {
    std::string note;
    if (cut_ > 0)
      note = std::to_string(cut_) + " of " + std::to_string(tokens_.documents()) +
             " documents are longer than train.seq_len and were cut at their end";
    if (silent_ > 0)
      note += (note.empty() ? "" : "; ") + std::to_string(silent_) + " of " +
              std::to_string(tokens_.documents()) +
              " documents have nothing to predict and were left out";
    return note;
  }

 private:
  int64_t begin_of(int64_t document) const {
    return document == 0 ? 0 : tokens_.end_of(document - 1);
  }
  int64_t end_of(int64_t document) const { return tokens_.end_of(document); }

  // The first id of a sample is nobody's target.
  bool has_target(int64_t document, int64_t length) const {
    for (int64_t i = begin_of(document) + 1; i < begin_of(document) + length; ++i) {
      if (tokens_.is_target(i))
        return true;
    }
    return false;
  }

  void append(int64_t document, int32_t number, Sample& sample) const {
    const int64_t begin = begin_of(document);
    const int64_t end = std::min(end_of(document), begin + room_);
    for (int64_t i = begin; i < end; ++i) {
      sample.ids.push_back(tokens_.at(i));
      sample.loss.push_back(tokens_.is_target(i) ? 1 : 0);
      sample.documents.push_back(number);
    }
  }

  const TokenCache& tokens_;
  int64_t room_;
  int32_t filler_;
  std::vector<int64_t> documents_;  ///< those with a target
  std::vector<size_t> rows_;        ///< where each sample begins in documents_, and the end
  int64_t cut_ = 0;
  int64_t silent_ = 0;
};

class Pairs final : public Packing {
 public:
  Pairs(const TokenCache& tokens, int64_t seq_len, int32_t filler)
      : tokens_(tokens), room_(seq_len + 1), filler_(filler) {
    const auto silent = [](const Sample& s) {
      return std::find(s.loss.begin(), s.loss.end(), 1) == s.loss.end();
    };
    for (int64_t i = 0; i + 1 < tokens_.documents(); i += 2) {
      const Sample chosen = row(i);
      const Sample rejected = row(i + 1);
      if (silent(chosen) || silent(rejected))
        ++silent_;
      else if (chosen.ids == rejected.ids)
        ++same_;
      else
        first_.push_back(i);
    }
  }

  int64_t size() const override { return 2 * std::ssize(first_); }

  Sample at(int64_t place) const override {
    return row(first_[static_cast<size_t>(place / 2)] + place % 2);
  }

  std::string note() const override {
    const std::string all = " of " + std::to_string(tokens_.documents() / 2) + " pairs ";
    std::string note;
    if (same_ > 0)
      note = std::to_string(same_) + all +
             "have the same answer twice within train.seq_len and were left out";
    if (silent_ > 0)
      note += (note.empty() ? "" : "; ") + std::to_string(silent_) + all +
              "have an answer with nothing to predict within train.seq_len and were left out";
    return note;
  }

 private:
  Sample row(int64_t document) const {
    const int64_t begin = document == 0 ? 0 : tokens_.end_of(document - 1);
    const int64_t end = std::min(tokens_.end_of(document), begin + room_);
    Sample sample;
    for (int64_t i = begin; i < end; ++i) {
      sample.ids.push_back(tokens_.at(i));
      if (i > begin)
        sample.loss.push_back(tokens_.is_target(i) ? 1 : 0);
    }
    const auto room = static_cast<size_t>(room_);
    sample.documents.resize(sample.ids.size(), 0);
    sample.documents.resize(room, 1);
    sample.ids.resize(room, filler_);
    sample.loss.resize(room - 1, 0);
    return sample;
  }

  const TokenCache& tokens_;
  int64_t room_;
  int32_t filler_;
  std::vector<int64_t> first_;  ///< chosen documents of the pairs that are used
  int64_t same_ = 0;
  int64_t silent_ = 0;
};

}  // namespace

void keep_documents_apart(Sample& sample) {
  for (size_t i = 0; i < sample.loss.size(); ++i) {
    if (sample.documents[i + 1] != sample.documents[i])
      sample.loss[i] = 0;
  }
  sample.documents.pop_back();
}

std::unique_ptr<Packing> make_cut_packing(const TokenCache& tokens, int64_t seq_len) {
  return std::make_unique<Cut>(tokens, seq_len);
}

std::unique_ptr<Packing> make_whole_packing(const TokenCache& tokens,
                                            int64_t seq_len,
                                            int32_t filler) {
  return std::make_unique<Whole>(tokens, seq_len, filler);
}

std::unique_ptr<Packing> make_pair_packing(const TokenCache& tokens,
                                           int64_t seq_len,
                                           int32_t filler) {
  return std::make_unique<Pairs>(tokens, seq_len, filler);
}

}  // namespace sterna::data
