#include "recipes/recipe.h"

#include <array>
#include <charconv>
#include <cstdio>
#include <ostream>

#include "recipes/fnv.h"
#include "recipes/merge.h"
#include "recipes/parse.h"
#include "recipes/state.h"

namespace sterna::recipes {
namespace {

constexpr size_t kMaxOverrideDepth = 32;
constexpr const char* kNameless = "recipe";  ///< origin of a recipe that no file gave

std::vector<std::string> split_key(std::string_view key, std::string_view assignment) {
  std::vector<std::string> parts;
  while (true) {
    const size_t dot = key.find('.');
    parts.emplace_back(key.substr(0, dot));
    if (parts.back().empty() || parts.size() > kMaxOverrideDepth)
      throw RecipeError("command line: '" + std::string(assignment) +
                        "': expected section.key=value");
    if (dot == std::string_view::npos)
      return parts;
    key.remove_prefix(dot + 1);
  }
}

/// The item of a list that `part` counts to, or null.
Value* item_of(Value& list, const std::string& part) {
  size_t index = 0;
  const char* end = part.data() + part.size();
  const auto [stop, error] = std::from_chars(part.data(), end, index);
  return error == std::errc() && stop == end && index < list.items.size() ? &list.items[index]
                                                                          : nullptr;
}

Value& step_into(Value& value, const std::string& part, std::string_view assignment) {
  if (value.is(Value::Kind::kList)) {
    if (Value* item = item_of(value, part))
      return *item;
    throw RecipeError("command line: '" + std::string(assignment) + "': the list has " +
                      std::to_string(value.items.size()) + " entries, none is number '" + part +
                      "' (they count from 0)");
  }
  expand_shorthand(value);
  if (!value.is(Value::Kind::kTable))
    throw RecipeError("command line: '" + std::string(assignment) + "': '" + part +
                      "' would lie below " + inline_text(value) + ", which is no table");
  return value.at_or_add(part);
}

void flatten(const Value& value, const std::string& key, std::map<std::string, std::string>& out) {
  const bool table = value.is(Value::Kind::kTable);
  if (value.items.empty() || (!table && !value.is_table_list())) {
    out[key] = inline_text(value);
    return;
  }
  for (size_t i = 0; i < value.items.size(); ++i)
    flatten(value.items[i],
            table ? join_key(key, value.keys[i]) : key + "[" + std::to_string(i) + "]",
            out);
}

}  // namespace

std::string join_key(std::string_view table, std::string_view name) {
  if (table.empty() || name.empty())
    return std::string(table) + std::string(name);
  return std::string(table) + "." + std::string(name);
}

std::map<std::string, std::string> flat(const Value& value) {
  std::map<std::string, std::string> out;
  for (size_t i = 0; i < value.items.size(); ++i)
    flatten(value.items[i], value.keys[i], out);
  return out;
}

Recipe::Recipe() : state_(std::make_unique<RecipeState>()) {
  state_->origin = kNameless;
}
Recipe::~Recipe() = default;
Recipe::Recipe(Recipe&&) noexcept = default;
Recipe& Recipe::operator=(Recipe&&) noexcept = default;

Recipe Recipe::load(const std::filesystem::path& path) {
  Recipe recipe;
  recipe.state_->origin = path.string();
  recipe.state_->written = load_recipe(path);
  return recipe;
}

Recipe Recipe::parse(const std::string& text, const std::string& origin) {
  Recipe recipe;
  recipe.state_->origin = origin;
  recipe.state_->written = parse_recipe(text, origin);
  return recipe;
}

void Recipe::overlay(const Recipe& over) {
  const bool nameless = state_->origin == kNameless;
  state_->origin = (nameless ? "" : state_->origin + ", ") + over.state_->origin;
  merge_over(state_->written, over.state_->written);
}

void Recipe::set(std::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos || equals == 0)
    throw RecipeError("command line: '" + std::string(assignment) +
                      "': expected section.key=value");
  const std::vector<std::string> parts = split_key(assignment.substr(0, equals), assignment);
  if (parts.front() == "include")
    throw RecipeError("command line: 'include' works in recipe files only");
  Value value = parse_override(assignment.substr(equals + 1));
  Value* target = &state_->written;
  for (const std::string& part : parts) {
    target = &step_into(*target, part, assignment);
    // A table made on the way has no place of its own yet.
    if (target->place.file.empty())
      target->place = value.place;
  }
  *target = std::move(value);
}

Section Recipe::root() {
  return Section(state_.get(), {});
}

Section Recipe::section(std::string_view name) {
  const Section top = root();
  const Value* written = state_->written.find(name);
  if (written != nullptr && !written->is(Value::Kind::kTable))
    top.fail(name, expected_table(*written));
  return top.sub(name);
}

void Recipe::ignore(std::string_view table) {
  state_->ignored.emplace(table);
}

void Recipe::reject_unknown() const {
  if (const std::string report = unknown_keys(*state_); !report.empty())
    throw RecipeError(report);
}

void Recipe::write(std::ostream& out) const {
  out << document_text(state_->resolved);
}

std::vector<Difference> Recipe::diff(const Recipe& newer) const {
  std::map<std::string, Difference> all;
  for (const auto& [key, text] : flat(state_->resolved))
    all[key] = {key, text, ""};
  for (const auto& [key, text] : flat(newer.state_->resolved)) {
    all[key].key = key;
    all[key].after = text;
  }
  std::vector<Difference> result;
  for (const auto& [key, difference] : all) {
    if (difference.before != difference.after)
      result.push_back(difference);
  }
  return result;
}

std::string Recipe::hash() const {
  uint64_t hash = fnv1a("");
  for (const auto& [key, text] : flat(state_->resolved))
    hash = fnv1a(key + " = " + text + "\n", hash);
  std::array<char, 17> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%016llx", static_cast<unsigned long long>(hash));
  return buffer.data();
}

}  // namespace sterna::recipes
