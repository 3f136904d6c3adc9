#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sterna::recipes {

/// Where a value was written.
struct Place {
  std::string file;  ///< a path, or "command line"
  int line = 0;      ///< 0: no line applies
  int column = 0;

  /// "a.toml:3:5", or the file alone.
  std::string text() const;
};

/// One node of a recipe: a scalar, a list or a table that keeps the order of its keys.
struct Value {
  enum class Kind { kBool, kInteger, kNumber, kText, kList, kTable };

  Kind kind = Kind::kTable;
  bool flag = false;
  int64_t integer = 0;
  double number = 0;
  std::string text;
  /// What was typed, where a bare word of the command line could be text as well ("007").
  std::string typed;
  std::vector<std::string> keys;  ///< kTable: names of `items`
  std::vector<Value> items;       ///< kList, kTable
  Place place;

  static Value of(bool value);
  static Value of(int64_t value);
  static Value of(double value);
  static Value of(std::string value);
  static Value list();

  bool is(Kind k) const { return kind == k; }
  /// True for a list that holds tables and nothing else.
  bool is_table_list() const;

  /// The text that this is, or that a bare word of the command line was typed as: run.name=007.
  /// Null for anything else.
  const std::string* as_text() const;

  /// Null where this is no table or has no such key.
  const Value* find(std::string_view key) const;
  Value* find(std::string_view key);

  /// The value under `key`, added where absent; this must be a table.
  Value& at_or_add(std::string_view key);
};

/// `text` as a TOML string, quotes included.
std::string quoted_text(std::string_view text);

/// `value` on one line, as TOML.
std::string inline_text(const Value& value);

/// A whole recipe as TOML: `[tables]`, `[[lists.of.tables]]`, everything deeper inline.
std::string document_text(const Value& root);

}  // namespace sterna::recipes
