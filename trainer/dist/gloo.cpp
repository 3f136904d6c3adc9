// The only file that sees Gloo's headers. LibTorch has the library inside and ships no headers;
// Debian's are near enough, because ProcessGroupGloo holds only pointers to what they declare.
// Their library must not be linked: its symbols would clash with LibTorch's copy.
#include "trainer/dist/gloo.h"

#include <net/if.h>

#include "recipes/user_error.h"

#ifdef STERNA_HAS_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#endif

namespace sterna::dist {

#ifdef STERNA_HAS_GLOO

// The pulse says when a collective takes too long; its clock stands still where the job is held.
constexpr auto kPatience = std::chrono::hours(24 * 365);

bool has_gloo() {
  return true;
}

static void require_interface(const std::string& name) {
  if (if_nametoindex(name.c_str()) != 0)
    return;
  std::string all;
  if (struct if_nameindex* const list = ::if_nameindex()) {
    for (const struct if_nameindex* each = list; each->if_index != 0; ++each)
      all += std::string(all.empty() ? "" : ", ") + each->if_name;
    if_freenameindex(list);
  }
  throw recipes::UserError("GLOO_SOCKET_IFNAME: this host has no network card '" + name +
                           "'; it has " + all);
}

Backend make_gloo(const Store& store, const Member& member) {
  auto options = c10d::ProcessGroupGloo::Options::create(kPatience);
  for (const std::string& name : member.interfaces) {
    require_interface(name);
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForInterface(name));
  }
  if (member.interfaces.empty())
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname(member.address));
  return c10::make_intrusive<c10d::ProcessGroupGloo>(
      store, static_cast<int>(member.rank), static_cast<int>(member.size), options);
}

#else

bool has_gloo() {
  return false;
}

Backend make_gloo(const Store&, const Member&) {
  throw recipes::UserError(
      "this program was built without Gloo's headers and knows worlds of one only: install "
      "libgloo-dev and build again");
}

#endif

}  // namespace sterna::dist
