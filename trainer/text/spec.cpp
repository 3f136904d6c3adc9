#include "trainer/text/spec.h"

namespace sterna::text {

PatternSpec pattern_of(const nlohmann::json& spec) {
  if (spec.is_string()) {
    return {spec.get<std::string>(), false};
  }
  if (spec.is_object() && spec.contains("String")) {
    return {spec.at("String").get<std::string>(), false};
  }
  if (spec.is_object() && spec.contains("Regex")) {
    return {spec.at("Regex").get<std::string>(), true};
  }
  refuse("pattern", spec.dump());
}

}  // namespace sterna::text
