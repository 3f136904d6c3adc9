#pragma once

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

namespace sterna::bench {

inline double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Things that do like work, timed in turn on one thread by its processor time, every second round
/// backwards; what is compared is the median of the rounds' ratios, since a busy machine moves all
/// of a round alike.
class Contest {
 public:
  /// @param amount  of whatever the contest counts (bytes, operations) that a run does
  void add(const std::string& name, double amount, std::function<void(int64_t round)> run) {
    entries_.push_back({name, amount, std::move(run), {}});
  }

  void run(int64_t rounds) {
    for (Entry& entry : entries_)
      entry.run(0);
    for (int64_t round = 1; round <= rounds; ++round) {
      for (size_t i = 0; i < entries_.size(); ++i) {
        Entry& entry = entries_[round % 2 == 1 ? i : entries_.size() - 1 - i];
        const double start = thread_seconds();
        entry.run(round);
        entry.seconds.push_back(thread_seconds() - start);
      }
    }
  }

  size_t size() const { return entries_.size(); }
  const std::string& name(size_t i) const { return entries_[i].name; }
  double microseconds(size_t i) const { return 1e6 * median(entries_[i].seconds); }
  /// Amount a second, in thousand millions.
  double rate(size_t i) const { return 1e-9 * entries_[i].amount / median(entries_[i].seconds); }

  /// How many times as fast entry i is as entry j, per amount.
  double ratio(size_t i, size_t j) const {
    const Entry &a = entries_[i], &b = entries_[j];
    std::vector<double> ratios;
    for (size_t round = 0; round < a.seconds.size(); ++round)
      ratios.push_back(a.amount / a.seconds[round] / (b.amount / b.seconds[round]));
    return median(ratios);
  }

 private:
  struct Entry {
    std::string name;
    double amount;
    std::function<void(int64_t)> run;
    std::vector<double> seconds;
  };
  std::vector<Entry> entries_;
};

}  // namespace sterna::bench
