#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "recipes/user_error.h"

namespace sterna::model {

/// Typed reads of one JSON object whose errors name file and key.
class Keys {
 public:
  Keys(const nlohmann::json& object, std::filesystem::path file)
      : object_(object), file_(std::move(file)) {
    if (!object.is_object())
      throw recipes::UserError(file_.string() + ": expected a JSON object, found " +
                               object.type_name());
  }

  // A key that is null counts as absent, as it does for transformers.
  bool has(const std::string& key) const {
    return object_.contains(key) && !object_.at(key).is_null();
  }

  int64_t integer(const std::string& key) const {
    if (!at(key).is_number_integer())
      wrong(key, "an integer");
    require_63_bits(key, at(key));
    return at(key).get<int64_t>();
  }
  int64_t integer_or(const std::string& key, int64_t fallback) const {
    return has(key) ? integer(key) : fallback;
  }

  double number(const std::string& key) const {
    if (!at(key).is_number())
      wrong(key, "a number");
    return at(key).get<double>();
  }
  double number_or(const std::string& key, double fallback) const {
    return has(key) ? number(key) : fallback;
  }

  bool boolean_or(const std::string& key, bool fallback) const {
    if (!has(key))
      return fallback;
    if (!at(key).is_boolean())
      wrong(key, "true or false");
    return at(key).get<bool>();
  }

  std::string text_or(const std::string& key, const std::string& fallback) const {
    if (!has(key))
      return fallback;
    if (!at(key).is_string())
      wrong(key, "a string");
    return at(key).get<std::string>();
  }

  // One id or a list of ids.
  std::vector<int64_t> ids(const std::string& key) const {
    std::vector<int64_t> found;
    if (!has(key))
      return found;
    const auto list = at(key).is_array() ? at(key) : nlohmann::json::array({at(key)});
    for (const auto& id : list) {
      if (!id.is_number_integer())
        wrong(key, "an id or a list of ids");
      require_63_bits(key, id);
      found.push_back(id.get<int64_t>());
    }
    return found;
  }

  std::vector<double> numbers(const std::string& key) const {
    std::vector<double> found;
    for (const auto& value : list(key, "a list of numbers")) {
      if (!value.is_number())
        wrong(key, "a list of numbers");
      found.push_back(value.get<double>());
    }
    return found;
  }

  std::vector<std::string> texts(const std::string& key) const {
    std::vector<std::string> found;
    for (const auto& value : list(key, "a list of strings")) {
      if (!value.is_string())
        wrong(key, "a list of strings");
      found.push_back(value.get<std::string>());
    }
    return found;
  }

  // Of an object's entries.
  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& [name, value] : object_.items())
      all.push_back(name);
    return all;
  }

  bool is_object(const std::string& key) const { return has(key) && at(key).is_object(); }

  Keys object(const std::string& key) const {
    if (!at(key).is_object())
      wrong(key, "an object");
    return Keys(at(key), file_);
  }

  [[noreturn]] void refuse(const std::string& key, const std::string& why) const {
    throw recipes::UserError(file_.string() + ": '" + key + "': " + why);
  }

 private:
  const nlohmann::json& at(const std::string& key) const {
    if (!has(key))
      refuse(key, "missing; a decoder cannot be built without it");
    return object_.at(key);
  }
  const nlohmann::json& list(const std::string& key, const std::string& expected) const {
    if (!at(key).is_array())
      wrong(key, expected);
    return at(key);
  }
  // The library would turn what is beyond into a negative number.
  void require_63_bits(const std::string& key, const nlohmann::json& value) const {
    if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX)
      wrong(key, "an integer below 2^63");
  }
  [[noreturn]] void wrong(const std::string& key, const std::string& expected) const {
    refuse(key, "expected " + expected + ", found " + object_.at(key).dump().substr(0, 60));
  }

  const nlohmann::json& object_;
  std::filesystem::path file_;
};

}  // namespace sterna::model
