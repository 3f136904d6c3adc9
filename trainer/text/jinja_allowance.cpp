#include "trainer/text/jinja_allowance.h"

#include <stdexcept>

namespace sterna::text::jinja {
namespace {

constexpr int kMostNested = 64;
constexpr size_t kOfNode = 16;       // a value itself
constexpr size_t kOfContainer = 48;  // with its allocation
constexpr size_t kBytesAStep = 64;   // copied in the time of a step

[[noreturn]] void refuse_size() {
  throw std::invalid_argument("the template makes more text or values than a chat can need");
}

}  // namespace

size_t weight(const Value& value, int depth) {
  if (value.is_string())
    return kOfContainer + value.get_ref<const std::string&>().size();
  if (!value.is_structured())
    return kOfNode;
  if (depth == kMostNested)
    throw std::invalid_argument("lists and mappings are nested too deeply");
  size_t sum = kOfContainer;
  if (value.is_object()) {
    for (const auto& [key, one] : value.get_ref<const Value::object_t&>())
      sum += kOfContainer + key.size() + weight(one, depth + 1);
  } else {
    for (const Value& one : value)
      sum += weight(one, depth + 1);
  }
  return sum;
}

Allowance::Allowance(size_t given)
    : most_((size_t{256} << 10) + 32 * given), steps_(1'000'000 + 64 * given) {}

void Allowance::spend(size_t steps) {
  if (steps > steps_)
    throw std::invalid_argument("the template does more work than a chat can need");
  steps_ -= steps;
}

void Allowance::made(const Value& value) {
  const size_t bytes = weight(value);
  spend(1 + bytes / kBytesAStep);
  if (bytes > most_)
    refuse_size();
}

void Allowance::keep(size_t after, size_t before) {
  kept_ = kept_ - before + after;
  if (kept_ > most_)
    refuse_size();
}

}  // namespace sterna::text::jinja
