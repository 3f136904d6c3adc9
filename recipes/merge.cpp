#include "recipes/merge.h"

namespace sterna::recipes {
namespace {

bool selects_another(const Value& under, const Value& over) {
  const Value* old_name = under.find("name");
  const Value* new_name = over.find("name");
  return old_name != nullptr && new_name != nullptr && old_name->text != new_name->text;
}

bool is_rule_list(const std::string& key, const Value& under, const Value& over) {
  const bool rules = over.is_table_list() || over.is(Value::Kind::kTable);
  return key == "rule" && under.is_table_list() && rules;
}

void merge_entry(const std::string& key, Value& under, const Value& over) {
  if (is_rule_list(key, under, over)) {
    const std::vector<Value> own = over.is(Value::Kind::kTable) ? std::vector{over} : over.items;
    under.items.insert(under.items.begin(), own.begin(), own.end());
    return;
  }
  if (over.is(Value::Kind::kTable) && over.find("name") == nullptr)
    expand_shorthand(under);
  const bool both_tables = under.is(Value::Kind::kTable) && over.is(Value::Kind::kTable);
  if (both_tables && !selects_another(under, over))
    merge_over(under, over);
  else
    under = over;
}

}  // namespace

void expand_shorthand(Value& value) {
  if (!value.is(Value::Kind::kText))
    return;
  Value table;
  table.place = value.place;
  table.at_or_add("name") = value;
  value = std::move(table);
}

void merge_over(Value& under, const Value& over) {
  for (size_t i = 0; i < over.items.size(); ++i) {
    if (Value* old = under.find(over.keys[i]))
      merge_entry(over.keys[i], *old, over.items[i]);
    else
      under.at_or_add(over.keys[i]) = over.items[i];
  }
}

}  // namespace sterna::recipes
