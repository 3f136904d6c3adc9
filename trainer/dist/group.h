#pragma once

#include <memory>
#include <string>

#include "trainer/dist/launch.h"
#include "trainer/dist/pulse.h"
#include "trainer/dist/world_c10d.h"

namespace sterna::dist {

/// The processes of a job as this one knows them: found through the store that rank 0 or the
/// launcher serves, watched from then on. While it lives, the process may end at any time, with the
/// code of the first rank that failed.
class Group {
 public:
  /// Finds the store, and waits for all ranks. Until stops() of the pulse is told otherwise, ranks
  /// of which one is asked to stop have some seconds to end orderly; then the job ends with exit
  /// code 3, as it does at once while ranks wait for others to appear. Before there is a store
  /// nobody but the caller's signal handlers ends it.
  /// @param launch  with in_group(); `talk` outlives the object
  Group(const Launch& launch, Talk& talk, const Stops& stops);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  /// Connects all ranks. @param timeout  of a collective and of signs of life,
  /// in seconds
  World& join(double timeout);

  Pulse& pulse() { return *pulse_; }

  /// Whether ranks of this launch have been at work before.
  bool is_restarted() const;

  /// Which launch this is: the same for all its beginnings, and for no other one's.
  const std::string& launch_name() const { return launch_name_; }

  /// Ends all ranks, with a message that names this one. @param code  exit code of all of them
  [[noreturn]] void fail(int code, const std::string& why);

  /// This rank has done its work; all are to come here. @param code  which its process is to end
  /// with
  void leave(int code);

 private:
  Launch launch_;
  Talk& talk_;
  int64_t attempt_ = 0;
  std::string launch_name_;
  Store store_;
  std::unique_ptr<Pulse> pulse_;
  std::unique_ptr<World> world_;
};

/// Name of this machine.
std::string host_name();

}  // namespace sterna::dist
