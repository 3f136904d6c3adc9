#include "trainer/dist/group.h"

#include <arpa/inet.h>
#include <cctype>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "recipes/user_error.h"
#include "trainer/dist/meeting.h"
#include "trainer/dist/nccl.h"
#include "trainer/dist/parent.h"

namespace sterna::dist {
namespace {

using namespace std::chrono_literals;

// Hosts of a cluster start minutes apart.
constexpr auto kToAppear = 300s;

Store connect_store(const Launch& launch, bool serve) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(launch.port);
  options.isServer = serve;
  options.waitWorkers = false;
  options.timeout = kToAppear;
  return c10::make_intrusive<c10d::TCPStore>(launch.address, options);
}

/// A part of a file's name that no other job on this host has.
std::string file_name_of(const Launch& launch) {
  std::string name = launch.job + "-" + std::to_string(launch.port);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0)
      c = '-';
  return name;
}

/// Of all beginnings the first that is known: its rank 0 may be elsewhere the next time.
std::string name_of_launch(const Store& job, const Launch& launch) {
  if (launch.rank != 0)
    return launch.job;
  const std::string own = launch.job + " of " + own_parent();
  const std::vector<uint8_t> first =
      job->compareSet("launch", std::vector<uint8_t>{}, {own.begin(), own.end()});
  return {first.begin(), first.end()};
}

/// Nobody can be told: the first one on this host says it.
[[noreturn]] void stop_alone(const Self& self, Talk& talk) {
  const Failure stopped = stopped_early(self);
  if (talk.is_first("stopped-" + self.attempt))
    talk.complain(stopped.text);
  // Destructors of c10d wait for peers.
  _exit(stopped.code);
}

std::string text_of(const sockaddr* address, socklen_t size) {
  char text[NI_MAXHOST];
  if (getnameinfo(address, size, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0)
    return "";
  return text;
}

/// The address from which this host reaches the store's.
std::string way_to(const Launch& launch) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(launch.address.c_str(), std::to_string(launch.port).c_str(), &hints, &found) != 0)
    return "";
  std::string own;
  for (const addrinfo* each = found; each != nullptr && own.empty(); each = each->ai_next) {
    const int probe = socket(each->ai_family, each->ai_socktype, 0);
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    auto* generic = reinterpret_cast<sockaddr*>(&name);
    if (probe >= 0 && connect(probe, each->ai_addr, each->ai_addrlen) == 0 &&
        getsockname(probe, generic, &size) == 0)
      own = text_of(generic, size);
    if (probe >= 0)
      close(probe);
  }
  freeaddrinfo(found);
  return own;
}

bool is_loopback(const std::string& address) {
  return address.empty() || address.starts_with("127.") || address == "::1";
}

/// Debian gives a host's own name the address 127.0.1.1, which no other host can use.
std::string first_outward() {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0)
    return "";
  std::string found;
  for (const ifaddrs* each = all; each != nullptr && found.empty(); each = each->ifa_next)
    if (each->ifa_addr != nullptr && each->ifa_addr->sa_family == AF_INET &&
        (each->ifa_flags & IFF_UP) != 0 && (each->ifa_flags & IFF_LOOPBACK) == 0)
      found = text_of(each->ifa_addr, sizeof(sockaddr_in));
  freeifaddrs(all);
  return found;
}

std::string own_address(const Launch& launch) {
  const std::string way = way_to(launch);
  if (!is_loopback(way))
    return way;
  const std::string outward = launch.local_size < launch.size ? first_outward() : "";
  return outward.empty() ? "127.0.0.1" : outward;
}

}  // namespace

std::string host_name() {
  char name[256] = {};
  if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
    return "unknown";
  return name;
}

Group::Group(const Launch& launch, Talk& talk, const Stops& stops) : launch_(launch), talk_(talk) {
  Self self{launch.rank,
            !launch.agent_store && launch.rank == 0,
            launch.own_launcher,
            host_name(),
            file_name_of(launch)};
  try {
    const Store own = connect_store(launch, self.hosts_store);
    const Store pulses = connect_store(launch, false);
    const Met met = meet(pulses, launch, self, talk, stops.asked);
    attempt_ = met.attempt;
    self.attempt += "-" + std::to_string(attempt_);
    store_ = of_attempt(of_job(own, launch.job), attempt_);
    Board board(of_attempt(of_job(pulses, launch.job), attempt_), launch.size);
    pulse_ = std::make_unique<Pulse>(std::move(board), self, talk, met.sign);
    pulse_->stops().end_where(stops, stopped_early(self));
    launch_name_ = name_of_launch(of_job(own, launch.job), launch);
  } catch (const recipes::UserError&) {
    throw;
  } catch (const std::exception& error) {
    if (stops.asked())  // a signal may have been what c10d complains of
      stop_alone(self, talk);
    throw std::runtime_error(
        "rank " + std::to_string(launch.rank) + " on " + self.host + " finds no store at " +
        launch.address + ":" + std::to_string(launch.port) + ", where " +
        (launch.agent_store ? "its launcher" : "rank 0") + " should serve it: " + error.what());
  }
  talk.note("rank " + std::to_string(launch.rank) + " of " + std::to_string(launch.size) + " on " +
            self.host + ", process " + std::to_string(getpid()) + ", started by " +
            launch.launcher + ", beginning " + std::to_string(attempt_));
}

Group::~Group() {
  world_.reset();
  pulse_.reset();
}

World& Group::join(double timeout) {
  pulse_->set_timeout(timeout);
  Circle all{{}, launch_.rank, "all"};
  for (int64_t rank = 0; rank < launch_.size; ++rank)
    all.ranks.push_back(rank);
  const std::chrono::milliseconds limit(static_cast<int64_t>(timeout * 1000));
  const auto connect = [this, limit, address = own_address(launch_)](const Circle& circle,
                                                                     at::DeviceType device) {
    const Member member{
        circle.rank, static_cast<int64_t>(circle.ranks.size()), address, launch_.interfaces};
    const bool host = device == at::kCPU;
    const Store store =
        c10::make_intrusive<c10d::PrefixStore>(circle.name + (host ? "" : "/gpu"), store_);
    return host ? make_gloo(store, member) : make_nccl(store, member, limit);
  };
  world_ = make_c10d(connect, all, *pulse_);
  return *world_;
}

void Group::fail(int code, const std::string& why) {
  constexpr int kUserError = 2;
  if (code != kUserError)
    pulse_->fail({code, "sterna: " + failed_text(pulse_->shown()) + ": " + why});
  const std::string who =
      launch_.rank == 0 ? ""
                        : " (rank " + std::to_string(launch_.rank) + " on " + host_name() + ")";
  pulse_->fail({code, "error: " + why + who});
}

bool Group::is_restarted() const {
  return launch_.restarts > 0 || attempt_ > 1;
}

void Group::leave(int code) {
  pulse_->stops().share({});
  world_->barrier();
  pulse_->leave(code);
}

}  // namespace sterna::dist
