#include "trainer/dist/parent.h"

#include <fstream>
#include <sstream>
#include <unistd.h>

#include "trainer/dist/group.h"

namespace sterna::dist {
namespace {

/// In ticks since the host began; empty where the system does not say.
std::string start_of(const std::string& process) {
  constexpr int kState = 3;  // the first one behind the name, which may hold anything
  constexpr int kStart = 22;
  std::ifstream file("/proc/" + process + "/stat");
  std::string line;
  std::getline(file, line);
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos)
    return "";
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  for (int i = kState; i <= kStart; ++i)
    fields >> field;
  return field;
}

}  // namespace

std::string own_parent() {
  const std::string number = std::to_string(getppid());
  return host_name() + " " + number + " " + start_of(number);
}

}  // namespace sterna::dist
