#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"

namespace sterna::text {

/// `type` of a component of tokenizer.json.
inline std::string type_of(const nlohmann::json& spec, const char* where) {
  const auto found = spec.is_object() ? spec.find("type") : spec.end();
  if (!spec.is_object() || found == spec.end() || !found->is_string()) {
    throw recipes::UserError(std::string("tokenizer.json: ") + where + " has no \"type\"");
  }
  return found->get<std::string>();
}

/// The value of `key`; `fallback` where it is absent or null.
template <class T>
T value_or(const nlohmann::json& spec, const char* key, T fallback) {
  const auto found = spec.find(key);
  if (found == spec.end() || found->is_null()) {
    return fallback;
  }
  try {
    return found->get<T>();
  } catch (const nlohmann::json::exception&) {
    throw recipes::UserError(std::string("tokenizer.json: \"") + key +
                             "\" has an unexpected type: " + found->dump());
  }
}

[[noreturn]] inline void refuse(const char* kind, const std::string& name) {
  throw recipes::UserError(std::string("tokenizer.json: the ") + kind + " \"" + name +
                           "\" is not supported");
}

/// A pattern given as {"String": text} or {"Regex": expression}.
struct PatternSpec {
  std::string text;
  bool regex = false;
};
PatternSpec pattern_of(const nlohmann::json& spec);

}  // namespace sterna::text
