// Where a section stands in its recipe: tables, lists and components below it, places and errors.
// What its fields hold is read in section_values.cpp.
#include "recipes/recipe.h"
#include "recipes/state.h"

namespace sterna::recipes {
namespace {

using Kind = Value::Kind;

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

bool Section::has(std::string_view name) const {
  return find(name) != nullptr;
}

std::vector<std::string> Section::keys() const {
  const Value* table = find("");
  return table == nullptr ? std::vector<std::string>() : table->keys;
}

std::string Section::text(std::string_view name) const {
  const Value* v = find(name);
  return v == nullptr ? "" : inline_text(*v);
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
    if (own->as_text() == nullptr)
      fail_type("", "a component, \"name\" or { name = \"...\" }", *own);
    text = *own->as_text();
  } else if (const Value* name = own == nullptr ? nullptr : own->find("name")) {
    if (name->as_text() == nullptr)
      fail_type("name", "text in quotes", *name);
    text = *name->as_text();
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

}  // namespace sterna::recipes
