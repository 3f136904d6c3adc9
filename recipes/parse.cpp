#include "recipes/parse.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <system_error>

#include <toml++/toml.h>

#include "recipes/key_depth.h"
#include "recipes/merge.h"
#include "recipes/paths.h"
#include "recipes/recipe.h"

namespace sterna::recipes {
namespace {

namespace fs = std::filesystem;

/// Deeper than any recipe; keeps hostile files from exhausting the stack.
constexpr int kMaxDepth = 64;

Place place_of(const toml::source_region& source, const std::string& file) {
  return {file, static_cast<int>(source.begin.line), static_cast<int>(source.begin.column)};
}

[[noreturn]] void fail(const Place& place, const std::string& why) {
  throw RecipeError(place.text() + ": " + why);
}

Value convert(const toml::node& node, const std::string& file, int depth);

Value convert_table(const toml::table& table, const std::string& file, int depth) {
  struct Entry {
    const toml::key* key;
    const toml::node* node;
  };
  std::vector<Entry> entries;
  for (const auto& [key, node] : table)
    entries.push_back({&key, &node});
  // toml++ sorts keys; a written recipe keeps its author's order.
  std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    const auto pa = a.key->source().begin;
    const auto pb = b.key->source().begin;
    return pa.line != pb.line ? pa.line < pb.line : pa.column < pb.column;
  });
  Value value;
  for (const Entry& entry : entries) {
    value.keys.emplace_back(entry.key->str());
    value.items.push_back(convert(*entry.node, file, depth + 1));
    // The key is where a reader looks; a table's own place may be its first dotted child's.
    if (entry.key->source().begin.line > 0)
      value.items.back().place = place_of(entry.key->source(), file);
  }
  return value;
}

Value convert_list(const toml::array& array, const std::string& file, int depth) {
  Value value = Value::list();
  for (const toml::node& item : array)
    value.items.push_back(convert(item, file, depth + 1));
  return value;
}

Value convert(const toml::node& node, const std::string& file, int depth) {
  const Place place = place_of(node.source(), file);
  if (depth > kMaxDepth)
    fail(place, "nested deeper than " + std::to_string(kMaxDepth) + " levels");
  Value value;
  switch (node.type()) {
    case toml::node_type::table:
      value = convert_table(*node.as_table(), file, depth);
      break;
    case toml::node_type::array:
      value = convert_list(*node.as_array(), file, depth);
      break;
    case toml::node_type::string:
      value = Value::of(node.as_string()->get());
      break;
    case toml::node_type::integer:
      value = Value::of(node.as_integer()->get());
      break;
    case toml::node_type::floating_point:
      value = Value::of(node.as_floating_point()->get());
      break;
    case toml::node_type::boolean:
      value = Value::of(node.as_boolean()->get());
      break;
    default:
      fail(place, "recipes hold no dates; put quotes around it");
  }
  value.place = place;
  return value;
}

Value parse_plain(const std::string& text, const std::string& origin) {
  if (const DeepKey deep = find_deep_key(text, kMaxDepth); deep.line > 0)
    fail({origin, deep.line, 1}, "nested deeper than " + std::to_string(kMaxDepth) + " levels");
  try {
    return convert(toml::parse(text, origin), origin, 0);
  } catch (const toml::parse_error& error) {
    fail(place_of(error.source(), origin), std::string(error.description()));
  }
}

std::string read_file(const fs::path& path, const std::string& asked_by) {
  std::error_code ignored;
  const bool folder = fs::is_directory(path, ignored);
  std::ifstream in(path, std::ios::binary);
  if (folder || !in)
    throw RecipeError(asked_by + path.string() + ": cannot open recipe (" +
                      (folder ? "it is a folder" : std::strerror(errno)) + "); check the path");
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Follows includes; `open` holds the files whose includes are being read, outermost first.
class Includer {
 public:
  Value load(const fs::path& path, const std::string& asked_by) {
    const std::string text = read_file(path, asked_by);
    std::error_code unresolved;
    const fs::path identity = fs::weakly_canonical(path, unresolved);
    if (std::find(open_.begin(), open_.end(), identity) != open_.end())
      throw RecipeError(asked_by + path.string() + " includes itself: " + chain());
    open_.push_back(identity);
    Value value = with_includes(parse_plain(text, path.string()), path.parent_path());
    open_.pop_back();
    return value;
  }

  Value with_includes(Value own, const fs::path& folder) {
    const std::optional<Value> include = take_include(own);
    if (!include)
      return own;
    Value merged;
    for (const Value& item : include->items)
      merge_over(merged, load_one(item, folder));
    merge_over(merged, own);
    merged.place = own.place;
    return merged;
  }

 private:
  static std::optional<Value> take_include(Value& own) {
    const auto it = std::find(own.keys.begin(), own.keys.end(), "include");
    if (it == own.keys.end())
      return std::nullopt;
    const auto index = it - own.keys.begin();
    Value include = own.items[static_cast<size_t>(index)];
    own.keys.erase(it);
    own.items.erase(own.items.begin() + index);
    if (include.is(Value::Kind::kText)) {
      Value list = Value::list();
      list.place = include.place;
      list.items.push_back(std::move(include));
      include = std::move(list);
    }
    if (!include.is(Value::Kind::kList))
      fail(include.place, "'include': expected a list of recipe files");
    return include;
  }

  Value load_one(const Value& item, const fs::path& folder) {
    if (!item.is(Value::Kind::kText))
      fail(item.place, "'include': expected file names, found " + inline_text(item));
    fs::path path = expand_path(item.text);
    if (path.is_relative())
      path = folder / path;
    return load(path.lexically_normal(), item.place.text() + ": 'include': ");
  }

  std::string chain() const {
    std::string text;
    for (const fs::path& path : open_)
      text += path.filename().string() + " -> ";
    return text + "again";
  }

  std::vector<fs::path> open_;
};

bool must_be_toml(std::string_view text) {
  return !text.empty() && std::string_view("[{\"'").find(text.front()) != std::string_view::npos;
}

void mark_command_line(Value& value) {
  value.place = {kCommandLine, 0, 0};
  for (Value& item : value.items)
    mark_command_line(item);
}

std::optional<Value> as_toml(std::string_view text) {
  // A line break could smuggle in further keys.
  if (text.find_first_of("\r\n") != std::string_view::npos)
    return std::nullopt;
  try {
    const Value table = parse_plain("x = " + std::string(text), kCommandLine);
    return table.items.size() == 1 && table.keys.front() == "x" ? std::optional(table.items.front())
                                                                : std::nullopt;
  } catch (const RecipeError& error) {
    if (must_be_toml(text))
      throw RecipeError("command line: '" + std::string(text) + "': " + error.what());
    return std::nullopt;
  }
}

}  // namespace

Value parse_recipe(const std::string& text, const std::string& origin) {
  return Includer().with_includes(parse_plain(text, origin), fs::path(origin).parent_path());
}

Value load_recipe(const fs::path& path) {
  return Includer().load(path, "");
}

Value parse_override(std::string_view text) {
  std::optional<Value> value = as_toml(text);
  if (!value)
    value = as_toml(quoted_text(text));  // the parser refuses invalid UTF-8
  else if (!must_be_toml(text))
    value->typed = text;
  mark_command_line(*value);
  return *value;
}

}  // namespace sterna::recipes
