#pragma once

#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sched.h>
#include <sstream>
#include <string>
#include <thread>
#include <unistd.h>

namespace sterna::tests {

/// A network namespace with nothing in it but the loopback card, whose counters say what the
/// processes inside have sent each other.
class OwnNetwork {
 public:
  OwnNetwork() : name_("sterna-" + std::to_string(getpid()) + "w") {
    made_ = run("ip netns add " + name_) && run("ip -n " + name_ + " link set lo up");
  }
  ~OwnNetwork() { run("ip netns del " + name_); }
  OwnNetwork(const OwnNetwork&) = delete;
  OwnNetwork& operator=(const OwnNetwork&) = delete;

  /// False where this user may not make one: that needs root and iproute2.
  bool made() const { return made_; }

  /// Brings the calling process inside. @return false where that fails
  bool enter() const {
    const int space = open(("/run/netns/" + name_).c_str(), O_RDONLY | O_CLOEXEC);
    if (space < 0)
      return false;
    const bool inside = setns(space, CLONE_NEWNET) == 0;
    close(space);  // an open one keeps the namespace behind its end
    return inside;
  }

  /// Bytes that TCP carried so far: frames without the headers of Ethernet (14), IP (20) and TCP
  /// with its time stamps (32).
  double sent() const {
    double bytes = -1;
    std::thread([&] {  // a thread has a network of its own
      if (enter())
        bytes = loopback();
    })
        .join();
    return bytes;
  }

 private:
  static bool run(const std::string& command) {
    return std::system((command + " 2>/dev/null").c_str()) == 0;
  }

  static double loopback() {
    std::ifstream table("/proc/thread-self/net/dev");
    for (std::string line; std::getline(table, line);) {
      std::istringstream fields(line);
      std::string card;
      double bytes = 0, packets = 0;
      if (fields >> card >> bytes >> packets && card == "lo:")
        return bytes - 66 * packets;
    }
    return -1;
  }

  std::string name_;
  bool made_ = false;
};

}  // namespace sterna::tests
