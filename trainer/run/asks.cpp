#include "trainer/run/asks.h"

#include <algorithm>
#include <set>

#include "trainer/run/batch.h"
#include "trainer/run/session.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

constexpr int64_t kPartBytes = int64_t{32} << 20;
/// Where there are micro-batches for that: so many ranks have a part each to write.
constexpr int64_t kLeastParts = 64;

}  // namespace

std::vector<Ask> missing_in(const TeacherCache& cache, const Session& session) {
  const int64_t batch = session.settings.train.batch;
  std::vector<Ask> asks;
  std::set<std::string> asked;
  for (int64_t first = 0; first < samples_of(session); first += batch) {
    SignalWatch::check();
    const Inputs inputs = load_batch(*session.samples, first, batch).inputs;
    Ask ask{first, {}};
    for (int64_t b = 0; b < batch; ++b) {
      const std::string key = sample_key(inputs, b);
      if (!cache.holds(key) && asked.insert(key).second)
        ask.rows.push_back(b);
    }
    if (!ask.rows.empty())
      asks.push_back(std::move(ask));
  }
  return asks;
}

int64_t rows_in(const std::vector<Ask>& asks) {
  int64_t rows = 0;
  for (const Ask& ask : asks)
    rows += std::ssize(ask.rows);
  return rows;
}

PartShares::PartShares(int64_t asks, int64_t bytes_of_ask, int64_t ranks)
    : asks_(asks),
      ranks_(ranks),
      each_(std::clamp<int64_t>((kPartBytes + bytes_of_ask - 1) / bytes_of_ask,
                                1,
                                std::max<int64_t>(1, (asks + kLeastParts - 1) / kLeastParts))) {}

std::vector<int64_t> PartShares::of_rank(int64_t rank) const {
  std::vector<int64_t> own;
  for (int64_t ask = 0; ask < asks_; ++ask)
    if (ask / each_ % ranks_ == rank)
      own.push_back(ask);
  return own;
}

}  // namespace sterna::run
