#include "trainer/dist/slurm.h"

#include <charconv>

namespace sterna::dist {
namespace {

// slurm.h, SLURM_INTERACTIVE_STEP: it and what lies above are no steps with tasks.
constexpr int64_t kFirstSpecialStep = 0xfffffffa;

std::optional<int64_t> number_in(const std::string& text) {
  int64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || value < 0)
    return std::nullopt;
  return value;
}

}  // namespace

std::string first_host(const std::string& list) {
  const auto open = list.find('[');
  const auto comma = list.find(',');
  if (open == std::string::npos || comma < open)
    return list.substr(0, comma);
  const auto end = list.find_first_of("-,]", open);
  if (end == std::string::npos)
    return list.substr(0, open);
  return list.substr(0, open) + list.substr(open + 1, end - open - 1);
}

std::optional<int64_t> tasks_on_node(const std::string& list, int64_t node) {
  int64_t first = 0;  // node of the entry
  for (size_t at = 0; at < list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    const std::string entry = list.substr(at, comma - at);
    at = comma + 1;
    const size_t open = entry.find("(x");
    const auto tasks = number_in(entry.substr(0, open));
    const auto nodes = open == std::string::npos ? std::optional<int64_t>(1)
                       : entry.back() == ')'
                           ? number_in(entry.substr(open + 2, entry.size() - open - 3))
                           : std::nullopt;
    if (!tasks || !nodes)
      return std::nullopt;
    first += *nodes;
    if (node < first)
      return tasks;
  }
  return std::nullopt;
}

bool is_step_of_srun(const std::string& step) {
  const auto number = number_in(step);
  return number && *number < kFirstSpecialStep;
}

}  // namespace sterna::dist
