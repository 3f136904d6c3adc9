#pragma once

#include <vector>

#include "trainer/run/teacher_cache.h"

namespace sterna::run {

struct Session;

/// Samples of a micro-batch that the cache lacks; who asks for one first has it made.
struct Ask {
  int64_t first = 0;          ///< sample of the micro-batch
  std::vector<int64_t> rows;  ///< of it, that are missing
};

/// All of them in order, the same on every rank.
std::vector<Ask> missing_in(const TeacherCache& cache, const Session& session);

int64_t rows_in(const std::vector<Ask>& asks);

/// Which asks make a part of the cache and which rank writes it. The parts are the same on any
/// number of ranks, so that the files are.
class PartShares {
 public:
  PartShares(int64_t asks, int64_t bytes_of_ask, int64_t ranks);

  std::vector<int64_t> of_rank(int64_t rank) const;
  bool ends_part(int64_t ask) const { return (ask + 1) % each_ == 0; }

 private:
  int64_t asks_;
  int64_t ranks_;
  int64_t each_;
};

}  // namespace sterna::run
