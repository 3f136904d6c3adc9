#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <type_traits>

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

/// True where a number is there and fits: the library cuts off what does not.
template <class T>
bool holds_integer(const nlohmann::json& value) {
  if (value.is_number_unsigned()) {
    return value.get<uint64_t>() <= static_cast<uint64_t>(std::numeric_limits<T>::max());
  }
  return value.is_number_integer() && value.get<int64_t>() >= std::numeric_limits<T>::min() &&
         value.get<int64_t>() <= std::numeric_limits<T>::max();
}

/// A token's id. @throws recipes::UserError  where `value` is none
inline int32_t id_of(const nlohmann::json& value) {
  if (!holds_integer<int32_t>(value) || value.get<int32_t>() < 0) {
    throw recipes::UserError("tokenizer.json: expected a token's id, found " + value.dump());
  }
  return value.get<int32_t>();
}

/// The value of `key`; `fallback` where it is absent or null.
template <class T>
T value_or(const nlohmann::json& spec, const char* key, T fallback) {
  const auto found = spec.find(key);
  if (found == spec.end() || found->is_null()) {
    return fallback;
  }
  const auto wrong = [&] {
    throw recipes::UserError(std::string("tokenizer.json: \"") + key +
                             "\" has an unexpected type: " + found->dump());
  };
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    if (!holds_integer<T>(*found)) {
      wrong();
    }
  }
  try {
    return found->get<T>();
  } catch (const nlohmann::json::exception&) {
    wrong();
  }
  return fallback;
}

/// One character, as SentencePiece's marker of spaces is.
/// @param fallback  where the key is absent or null
std::string character_of(const nlohmann::json& spec, const char* key, const char* fallback);

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
