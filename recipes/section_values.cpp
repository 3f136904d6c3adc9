// Values of a section's fields by their C++ type, and how messages spell them.
#include <algorithm>
#include <cmath>

#include "recipes/paths.h"
#include "recipes/recipe.h"
#include "recipes/state.h"
#include "recipes/suggest.h"

namespace sterna::recipes {
namespace {

using Kind = Value::Kind;

/// Takes `v` as a T, or says that it is none.
bool take(const Value& v, bool& out) {
  out = v.flag;
  return v.is(Kind::kBool);
}

bool take(const Value& v, int64_t& out) {
  out = v.integer;
  return v.is(Kind::kInteger);
}

bool take(const Value& v, double& out) {
  out = v.is(Kind::kInteger) ? static_cast<double>(v.integer) : v.number;
  return v.is(Kind::kInteger) || (v.is(Kind::kNumber) && !std::isnan(v.number));
}

bool take(const Value& v, std::string& out) {
  const std::string* text = v.as_text();
  out = text == nullptr ? "" : *text;
  return text != nullptr;
}

const char* expected(bool) {
  return "true or false";
}
const char* expected(int64_t) {
  return "an integer";
}
const char* expected(double) {
  return "a number";
}
const char* expected(const std::string&) {
  return "text in quotes";
}

Value value_of(const std::vector<Value>& items) {
  Value list = Value::list();
  list.items = items;
  return list;
}

std::string choices_text(const std::vector<std::string>& choices) {
  std::string text;
  for (const std::string& choice : choices)
    text += (text.empty() ? "" : ", ") + quoted_text(choice);
  return text;
}

}  // namespace

template <typename T>
void Section::read_scalar(std::string_view name, T& value) {
  if (const Value* v = find(name)) {
    T taken{};
    if (!take(*v, taken))
      fail_type(name, expected(T{}), *v);
    value = std::move(taken);
  }
  resolve(name) = Value::of(value);
}

template <typename T>
void Section::read_list(std::string_view name, std::vector<T>& value) {
  if (const Value* v = find(name)) {
    std::vector<T> taken;
    const std::vector<Value> items = v->is(Kind::kList) ? v->items : std::vector<Value>{*v};
    for (const Value& item : items) {
      if (!take(item, taken.emplace_back()))
        fail_type(name, (std::string("a list of values, each ") + expected(T{})).c_str(), item);
    }
    value = std::move(taken);
  }
  std::vector<Value> items;
  for (const T& item : value)
    items.push_back(Value::of(item));
  resolve(name) = value_of(items);
}

void Section::read_value(std::string_view name, bool& value) {
  read_scalar(name, value);
}
void Section::read_value(std::string_view name, int64_t& value) {
  read_scalar(name, value);
}
void Section::read_value(std::string_view name, double& value) {
  read_scalar(name, value);
}
void Section::read_value(std::string_view name, std::string& value) {
  read_scalar(name, value);
}

void Section::read_value(std::string_view name, std::filesystem::path& value) {
  std::string text = value.string();
  read_scalar(name, text);
  try {
    value = expand_path(text);
  } catch (const UserError& error) {
    fail(name, error.what());
  }
}

void Section::read_value(std::string_view name, std::vector<int64_t>& value) {
  read_list(name, value);
}

void Section::read_value(std::string_view name, std::vector<double>& value) {
  read_list(name, value);
}

void Section::read_value(std::string_view name, std::vector<std::string>& value) {
  read_list(name, value);
}

void Section::read_value(std::string_view name, std::vector<std::filesystem::path>& value) {
  std::vector<std::string> texts(value.begin(), value.end());
  read_list(name, texts);
  value.clear();
  try {
    for (const std::string& text : texts)
      value.push_back(expand_path(text));
  } catch (const UserError& error) {
    fail(name, error.what());
  }
}

void Section::operator()(std::string_view name,
                         std::string& value,
                         std::string_view help,
                         const OneOf& allowed) {
  (void)help;
  read_value(name, value);
  if (std::find(allowed.choices.begin(), allowed.choices.end(), value) == allowed.choices.end())
    fail(name,
         "expected one of " + choices_text(allowed.choices) + ", found " + quoted_text(value) +
             did_you_mean(value, allowed.choices));
}

void Section::operator()(std::string_view name,
                         std::vector<std::string>& value,
                         std::string_view help,
                         const OneOf& allowed) {
  (void)help;
  read_value(name, value);
  for (const std::string& text : value) {
    if (std::find(allowed.choices.begin(), allowed.choices.end(), text) == allowed.choices.end())
      fail(name,
           "expected a list of " + choices_text(allowed.choices) + ", found " + quoted_text(text) +
               did_you_mean(text, allowed.choices));
  }
}

std::string Section::to_text(bool value) {
  return inline_text(Value::of(value));
}
std::string Section::to_text(int64_t value) {
  return inline_text(Value::of(value));
}
std::string Section::to_text(double value) {
  return inline_text(Value::of(value));
}
std::string Section::to_text(const std::string& value) {
  return quoted_text(value);
}
std::string Section::to_text(const std::filesystem::path& value) {
  return quoted_text(value.string());
}

}  // namespace sterna::recipes
