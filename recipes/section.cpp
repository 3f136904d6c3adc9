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
  // A bare word of the command line is text where text is wanted: run.name=007.
  out = v.is(Kind::kText) ? v.text : v.typed;
  return v.is(Kind::kText) || !v.typed.empty();
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

/// Steps from `node` to the table or list item that a path names.
const Value* descend(const Value* node, std::string_view key, int64_t index) {
  node = node == nullptr ? nullptr : node->find(key);
  if (node == nullptr || index < 0)
    return node;
  if (!node->is(Kind::kList))
    return index == 0 ? node : nullptr;
  return static_cast<size_t>(index) < node->items.size() ? &node->items[static_cast<size_t>(index)]
                                                         : nullptr;
}

std::string choices_text(const std::vector<std::string>& choices) {
  std::string text;
  for (const std::string& choice : choices)
    text += (text.empty() ? "" : ", ") + quoted_text(choice);
  return text;
}

}  // namespace

const Value* Section::find(std::string_view name) const {
  const Value* node = &state_->written;
  for (const Step& step : path_)
    node = descend(node, step.key, step.index);
  return node == nullptr || name.empty() ? node : node->find(name);
}

Value& Section::resolve(std::string_view name) {
  Value* node = &state_->resolved;
  for (const Step& step : path_) {
    node = &node->at_or_add(step.key);
    if (step.index >= 0) {
      if (!node->is(Kind::kList))
        *node = Value::list();
      const auto index = static_cast<size_t>(step.index);
      if (node->items.size() <= index)
        node->items.resize(index + 1);
      node = &node->items[index];
    } else if (!node->is(Kind::kTable)) {
      *node = Value();
    }
  }
  return node->at_or_add(name);
}

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

bool Section::has(std::string_view name) const {
  return find(name) != nullptr;
}

std::vector<std::string> Section::keys() const {
  const Value* table = find("");
  return table == nullptr ? std::vector<std::string>() : table->keys;
}

Section Section::sub(std::string_view name) const {
  std::vector<Step> path = path_;
  path.push_back({std::string(name)});
  Section section(state_, std::move(path));
  state_->touched.insert(section.key());
  return section;
}

std::vector<Section> Section::tables(std::string_view name) const {
  const Value* v = find(name);
  if (v == nullptr)
    return {};
  state_->touched.insert(key(name));
  const std::vector<Value> items = v->is(Kind::kList) ? v->items : std::vector<Value>{*v};
  std::vector<Section> sections;
  for (const Value& item : items) {
    if (!item.is(Kind::kTable) && !item.is(Kind::kText))
      fail_type(name, "a list of tables", item);
    std::vector<Step> path = path_;
    path.push_back({std::string(name), static_cast<int64_t>(sections.size())});
    sections.push_back(Section(state_, std::move(path)));
    state_->touched.insert(sections.back().key());
  }
  return sections;
}

std::string Section::choose(std::string_view name, std::string_view fallback) {
  return sub(name).selected(fallback);
}

std::string Section::selected(std::string_view fallback) {
  std::string text(fallback);
  const Value* own = find("");
  if (own != nullptr && !own->is(Kind::kTable)) {
    if (!take(*own, text))
      fail_type("", "a component, \"name\" or { name = \"...\" }", *own);
  } else if (own != nullptr && own->find("name") != nullptr && !take(*own->find("name"), text)) {
    fail_type("name", "text in quotes", *own->find("name"));
  }
  if (text.empty())
    fail("", "missing; expected a component's name");
  resolve("name") = Value::of(text);
  return text;
}

std::string Section::key(std::string_view name) const {
  std::string text;
  for (const Step& step : path_) {
    text = join_key(text, step.key);
    if (step.index >= 0)
      text += "[" + std::to_string(step.index) + "]";
  }
  return join_key(text, name);
}

std::string Section::where(std::string_view name) const {
  const Value* node = &state_->written;
  const Place* nearest = &node->place;
  const auto step_to = [&](std::string_view key, int64_t index) {
    node = descend(node, key, index);
    if (node != nullptr && !node->place.file.empty())
      nearest = &node->place;
  };
  for (const Step& step : path_)
    step_to(step.key, step.index);
  if (!name.empty())
    step_to(name, -1);
  return nearest == &state_->written.place ? state_->origin : nearest->text();
}

void Section::fail(std::string_view name, const std::string& why) const {
  throw RecipeError(where(name) + ": '" + key(name) + "': " + why);
}

void Section::note_other_key(std::string_view name, std::string_view owner) {
  state_->other_keys.emplace(key(name), owner);
}

void Section::fail_type(std::string_view name, const char* wanted, const Value& v) const {
  fail(name, std::string("expected ") + wanted + ", found " + inline_text(v));
}

void Section::fail_range(std::string_view name,
                         const std::string& lo,
                         const std::string& hi,
                         const std::string& found) const {
  fail(name, "must lie in [" + lo + ", " + hi + "], found " + found);
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
