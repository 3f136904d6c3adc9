#include "trainer/text/jinja_variables.h"

#include <stdexcept>

namespace sterna::text::jinja {

const Value* Seen::part(const Value& key) const {
  if (place_ == nullptr) {
    return nullptr;
  }
  if (place_->is_object() && key.is_string()) {
    const auto found = place_->find(key.get_ref<const std::string&>());
    return found == place_->end() ? nullptr : &*found;
  }
  if (!place_->is_array() || !key.is_number_integer()) {
    return nullptr;
  }
  const auto size = std::ssize(*place_);
  const auto given = key.get<int64_t>();
  const int64_t index = given < 0 ? given + size : given;
  return index < 0 || index >= size ? nullptr : &(*place_)[static_cast<size_t>(index)];
}

Variables::Variables(std::map<std::string, Value> given, Allowance& allowance)
    : allowance_(allowance) {
  scopes_.emplace_back();
  for (auto& [name, value] : given) {
    scopes_.back()[name].value = std::move(value);
  }
}

const Value* Variables::find(const std::string& name) const {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    if (const auto found = scope->find(name); found != scope->end()) {
      return &found->second.value;
    }
  }
  return nullptr;
}

void Variables::put(const std::string& name, Value value) {
  Variable& variable = scopes_.back()[name];
  variable.value = std::move(value);
  count(variable);
}

void Variables::put(const std::vector<std::string>& names, const Value& value) {
  if (names.size() == 1) {
    put(names[0], value);
    return;
  }
  if (!value.is_array() || value.size() != names.size()) {
    throw std::invalid_argument("cannot unpack a value into these names");
  }
  for (size_t i = 0; i < names.size(); ++i) {
    put(names[i], value[i]);
  }
}

void Variables::put_field(const std::string& name, const std::string& field, Value value) {
  for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
    const auto found = scope->find(name);
    if (found == scope->end()) {
      continue;
    }
    if (!found->second.value.is_object()) {
      break;
    }
    found->second.value[field] = std::move(value);
    count(found->second);
    return;
  }
  throw std::invalid_argument("'" + name + "' is no namespace");
}

void Variables::clear() {
  for (const auto& [name, variable] : scopes_.back()) {
    allowance_.keep(0, variable.weight);
  }
  scopes_.back().clear();
}

void Variables::leave() {
  clear();
  scopes_.pop_back();
}

void Variables::count(Variable& variable) {
  const size_t before = std::exchange(variable.weight, weight(variable.value));
  allowance_.keep(variable.weight, before);
}

}  // namespace sterna::text::jinja
