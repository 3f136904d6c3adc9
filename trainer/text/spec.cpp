#include "trainer/text/spec.h"

#include "trainer/text/utf8.h"

namespace sterna::text {

std::string character_of(const nlohmann::json& spec, const char* key, const char* fallback) {
  const auto text = value_or<std::string>(spec, key, fallback);
  size_t end = 0;
  if (!text.empty()) {
    next_code_point(text, end);
  }
  if (text.empty() || end != text.size()) {
    throw recipes::UserError("tokenizer.json: " + type_of(spec, "a component") + "'s \"" + key +
                             "\" is \"" + text + "\", expected one character");
  }
  return text;
}

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
