#pragma once

#include "trainer/dist/ending.h"
#include "trainer/dist/launch.h"

namespace sterna::dist {

/// Keys of one job: others may use the same store by mistake. A launcher and its ranks use it
/// alike.
Store of_job(const Store& store, const std::string& job);

/// Keys of one beginning of a job, for a store that outlives several.
Store of_attempt(const Store& job, int64_t attempt);

/// Begins a job, or begins it anew. @return  the number of this beginning, from 1
int64_t begin_attempt(const Store& job);

/// The ranks of an attempt, where all of them have appeared.
struct Met {
  int64_t attempt = 0;
  Sign sign;  ///< as which this rank has appeared
};

/// Waits until every rank of this job is here; rank 0 begins the attempt unless the launcher has.
/// Ranks need not know how often the job has begun: torchrun's counts differ from host to host, and
/// its store holds what earlier attempts have left. Ends the job where a rank does not appear.
/// @param store  without a prefix
/// @param stopping  this process was asked to stop
/// @throws recipes::UserError  where the store is that of another job, naming both
Met meet(const Store& store,
         const Launch& launch,
         const Self& self,
         Talk& talk,
         const std::function<bool()>& stopping);

/// How a job ends that was asked to stop before there was anything to save.
Failure stopped_early(const Self& self);

}  // namespace sterna::dist
