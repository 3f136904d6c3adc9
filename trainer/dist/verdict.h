#pragma once

#include "trainer/dist/board.h"

namespace sterna::dist {

/// A rank with what it has to show of itself.
struct Shown {
  int64_t rank = 0;
  Sign sign;
};

/// Where the others wait: "step 4, missed in collective 5 (all_reduce of 4 KiB)".
/// @param own  of the rank that asks, which may be ahead of what it has shown
std::string missed_text(const Sign& own, const std::vector<std::optional<Sign>>& signs);

/// "rank 2 on node3 (process 4711) failed in step 8, behind collective 34 (all_reduce of 4 KiB)".
std::string failed_text(const Shown& own);

/// That a rank is gone, and where it is missed.
/// @param how  "it was ended by signal 9 (SIGKILL)"
std::string lost_text(const Shown& own,
                      int64_t rank,
                      const std::string& how,
                      const std::vector<std::optional<Sign>>& signs);

/// Whether another rank is inside a collective that this one has not begun.
bool is_awaited(const Sign& own, const std::vector<std::optional<Sign>>& signs);

/// That this rank lives, and comes no further. @param how  "neither computed, read nor written for
/// 50 s"
std::string hangs_text(const Shown& own,
                       const std::string& how,
                       const std::vector<std::optional<Sign>>& signs);

/// Whose fault it is that a collective does not end, by who has shown itself since `before`.
std::string verdict(Board& board, const Shown& own, const std::vector<std::optional<Sign>>& before);

}  // namespace sterna::dist
