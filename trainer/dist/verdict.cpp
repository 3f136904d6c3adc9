#include "trainer/dist/verdict.h"

#include <algorithm>

namespace sterna::dist {
namespace {

using Signs = std::vector<std::optional<Sign>>;

bool alive(const std::optional<Sign>& before, const std::optional<Sign>& now) {
  return now && (now->left || !before || now->beat != before->beat);
}

/// The rank that has begun the fewest collectives; `own` where none has begun fewer.
int64_t furthest_behind(const Shown& own, const Signs& signs) {
  int64_t last = own.rank;
  int64_t fewest = own.sign.begun;
  for (size_t rank = 0; rank < signs.size(); ++rank)
    if (signs[rank] && signs[rank]->begun < fewest) {
      last = static_cast<int64_t>(rank);
      fewest = signs[rank]->begun;
    }
  return last;
}

std::string at_collective(const Sign& sign) {
  return (sign.begun > sign.ended ? "inside " : "behind ") + collective_text(sign);
}

}  // namespace

// The last sign of a lost rank may be a second old, but ranks go together.
std::string missed_text(const Sign& own, const Signs& signs) {
  Sign furthest = own;
  for (const auto& sign : signs)
    if (sign && !sign->left && sign->begun > furthest.begun)
      furthest = *sign;
  const std::string where = step_text(furthest);
  if (furthest.begun > furthest.ended)
    return where + ", missed in " + collective_text(furthest);
  return where + ", behind " +
         (furthest.begun == 0 ? "no collective yet" : collective_text(furthest));
}

std::string failed_text(const Shown& own) {
  const std::string where = own.sign.begun == 0 ? "before any collective" : at_collective(own.sign);
  return name_of(own.rank, own.sign) + " failed in " + step_text(own.sign) + ", " + where;
}

std::string lost_text(const Shown& own, int64_t rank, const std::string& how, const Signs& signs) {
  return name_of(rank, signs[static_cast<size_t>(rank)]) + " is lost: " + how + "; " +
         missed_text(own.sign, signs);
}

bool is_awaited(const Sign& own, const Signs& signs) {
  return std::any_of(signs.begin(), signs.end(), [&](const std::optional<Sign>& sign) {
    return sign && !sign->left && sign->begun > own.begun && sign->begun > sign->ended;
  });
}

std::string hangs_text(const Shown& own, const std::string& how, const Signs& signs) {
  return name_of(own.rank, own.sign) + " hangs: it has " + how + "; " +
         missed_text(own.sign, signs) + "; it is in " + step_text(own.sign) + ", " +
         (own.sign.begun == 0 ? "before any collective" : at_collective(own.sign));
}

std::string verdict(Board& board, const Shown& own, const Signs& before) {
  const Signs now = board.signs();
  for (int64_t rank = 0; rank < board.size(); ++rank) {
    const auto at = static_cast<size_t>(rank);
    if (rank == own.rank || (now[at] && now[at]->left))
      continue;
    if (const auto how = board.end_of(rank))
      return lost_text(own, rank, "it " + *how, now);
    if (!alive(before[at], now[at]))
      return lost_text(own, rank, "no sign of life any more", now);
  }
  const int64_t last = furthest_behind(own, now);
  if (last == own.rank)
    return "the connection between ranks broke, all of which are alive; " +
           missed_text(own.sign, now);
  const Sign& sign = *now[static_cast<size_t>(last)];
  return name_of(last, sign) + " is alive, but does not come: " + missed_text(own.sign, now) +
         "; it is in " + step_text(sign) + ", " + at_collective(sign);
}

}  // namespace sterna::dist
