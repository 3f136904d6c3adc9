#include <vector>

#include "recipes/state.h"
#include "recipes/suggest.h"

namespace sterna::recipes {
namespace {

void list_known(const Value& value, const std::string& key, std::vector<std::string>& out) {
  if (!key.empty())
    out.push_back(key);
  for (size_t i = 0; i < value.items.size(); ++i) {
    if (value.is(Value::Kind::kTable))
      list_known(value.items[i], join_key(key, value.keys[i]), out);
    else if (value.items[i].is(Value::Kind::kTable))
      list_known(value.items[i], key + "[" + std::to_string(i) + "]", out);
  }
}

std::string_view last_part(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

/// Walks what was written beside what was asked for.
class Finder {
 public:
  explicit Finder(const RecipeState& state) : state_(state) {
    list_known(state.resolved, "", known_);
  }

  std::string report() {
    walk(state_.written, &state_.resolved, "");
    return report_;
  }

 private:
  void walk(const Value& written, const Value* resolved, const std::string& key) {
    if (state_.ignored.contains(key))
      return;
    if (resolved == nullptr && !state_.touched.contains(key))
      return complain(written, key);
    const bool is_table = written.is(Value::Kind::kTable);
    // A component may be written as its name alone; whoever built it has looked at that.
    if (!is_table && resolved != nullptr && resolved->is(Value::Kind::kTable) &&
        resolved->find("name") == nullptr)
      return add(written, "'" + key + "': " + expected_table(written));
    if (is_table) {
      // Section::tables() takes a single table for a list of one.
      if (resolved != nullptr && resolved->is(Value::Kind::kList))
        resolved = resolved->items.empty() ? nullptr : &resolved->items.front();
      const std::string own =
          resolved != nullptr && state_.touched.contains(key + "[0]") ? key + "[0]" : key;
      for (size_t i = 0; i < written.items.size(); ++i) {
        const Value* child = resolved == nullptr ? nullptr : resolved->find(written.keys[i]);
        walk(written.items[i], child, join_key(own, written.keys[i]));
      }
    } else if (written.is_table_list()) {
      for (size_t i = 0; i < written.items.size(); ++i) {
        const bool there =
            resolved != nullptr && resolved->is(Value::Kind::kList) && i < resolved->items.size();
        walk(written.items[i],
             there ? &resolved->items[i] : nullptr,
             key + "[" + std::to_string(i) + "]");
      }
    }
  }

  void complain(const Value& written, const std::string& key) {
    add(written, "unknown key '" + key + "'" + remedy(key));
  }

  void add(const Value& written, const std::string& what) {
    report_ += report_.empty() ? "" : "\n";
    report_ += written.place.text() + ": " + what;
  }

  std::string remedy(const std::string& key) const {
    if (const auto other = state_.other_keys.find(key); other != state_.other_keys.end())
      return "; it belongs to " + other->second + ", which this recipe does not select";
    if (std::string near = did_you_mean(key, known_); !near.empty())
      return near;
    for (const std::string& known : known_) {
      if (last_part(known) == last_part(key))
        return "; did you mean '" + known + "'?";
    }
    return "";
  }

  const RecipeState& state_;
  std::vector<std::string> known_;
  std::string report_;
};

}  // namespace

std::string expected_table(const Value& found) {
  return "expected a table, found " + inline_text(found) + "; set one of the keys below it";
}

std::string unknown_keys(const RecipeState& state) {
  return Finder(state).report();
}

}  // namespace sterna::recipes
