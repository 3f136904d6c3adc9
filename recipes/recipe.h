#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "recipes/user_error.h"

namespace sterna::recipes {

/// A mistake in a recipe that its author can mend. what() names file:line:column and key.
class RecipeError : public UserError {
 public:
  using UserError::UserError;
};

/// Inclusive bounds for a numeric field, or for every entry of a list of numbers.
template <typename T>
struct Range {
  T lo;
  T hi;
};
template <typename T>
Range(T, T) -> Range<T>;

/// The texts that a field may hold: OneOf{"none", "start", "document"}.
struct OneOf {
  OneOf(std::initializer_list<std::string> texts) : choices(texts) {}
  std::vector<std::string> choices;
};

class Section;
struct RecipeState;
struct Value;

/// A key whose value differs between two recipes; the text is TOML, empty where the key is absent.
struct Difference {
  std::string key;  ///< "quant.rule[0].match"
  std::string before;
  std::string after;
};

/// The settings of one run, with the file, line and column each came from.
///
/// Reading a key through a Section marks it as known and stores what was used, so after everything
/// has been built reject_unknown() can tell a typo from a setting, and write() gives the resolved
/// recipe. Sections point into their recipe and must not outlive it; moving the recipe is fine.
class Recipe {
 public:
  /// A recipe without a key: every default.
  Recipe();
  ~Recipe();
  Recipe(Recipe&&) noexcept;
  Recipe& operator=(Recipe&&) noexcept;

  /// Reads a file and what it includes (`include = ["parts/x.toml"]`, relative to the file that
  /// says so). The including file wins over its includes, a later include over an earlier one;
  /// lists called `rule` are joined, own entries first.
  static Recipe load(const std::filesystem::path& path);
  static Recipe parse(const std::string& text, const std::string& origin);

  /// Puts `over` on top of this recipe, as if `over` included it.
  void overlay(const Recipe& over);

  /// Applies a command-line override "a.b=value". The value is TOML, or else a bare string. A
  /// component's table is replaced by naming it ("quant.weight=seq") and keeps its other fields
  /// when one is set ("quant.weight.bits=2"); "quant.rule.0.match=x" reaches into a list.
  void set(std::string_view assignment);

  Section root();
  /// The table of that name; reading from one that is absent gives the defaults.
  Section section(std::string_view name);

  /// Declares everything below a top-level table as somebody else's business.
  void ignore(std::string_view table);

  /// Throws RecipeError naming every key that nobody asked for, with the nearest known key or the
  /// component that it belongs to.
  void reject_unknown() const;

  /// The resolved recipe as TOML: every key that was read, defaults included. Parsing it again and
  /// reading the same keys gives the same text.
  void write(std::ostream& out) const;

  /// Keys of the resolved recipes that differ. Both recipes must have been read the same way.
  std::vector<Difference> diff(const Recipe& newer) const;

  /// 16 hex digits over the resolved recipe, whatever the order of its keys (FNV-1a, 64 bit).
  std::string hash() const;

 private:
  std::unique_ptr<RecipeState> state_;
};

/// A cursor on one table of a recipe; hands typed values to a component's fields().
class Section {
 public:
  /// Fills a config struct. `config.fields(v)` must call v(name, member, help[, Range or OneOf]).
  template <class Config>
  Config read() {
    Config config;
    config.fields(*this);
    return config;
  }

  /// T is bool, int64_t, double, std::string, std::filesystem::path or a vector of one of the last
  /// four; where a list is expected one value stands for a list of one. `value` holds the default.
  template <typename T>
  void operator()(std::string_view name, T& value, std::string_view help) {
    (void)help;
    read_value(name, value);
  }

  template <typename T, typename U>
  void operator()(std::string_view name, T& value, std::string_view help, Range<U> range) {
    (void)help;
    read_value(name, value);
    check_range(name, value, range);
  }

  void operator()(std::string_view name,
                  std::string& value,
                  std::string_view help,
                  const OneOf& allowed);
  void operator()(std::string_view name,
                  std::vector<std::string>& value,
                  std::string_view help,
                  const OneOf& allowed);

  /// True where the recipe itself holds `name`.
  bool has(std::string_view name) const;

  /// Keys that the recipe itself holds in this table, in order.
  std::vector<std::string> keys() const;

  /// The table below `name`, there or not.
  Section sub(std::string_view name) const;

  /// The value of `name` on one line of TOML, as the recipe itself holds it; empty where absent.
  std::string text(std::string_view name) const;

  /// Every table of a list; a single table counts as a list of one, and a text is the shorthand
  /// "x" for { name = "x" }. Empty where absent.
  std::vector<Section> tables(std::string_view name) const;

  /// Which component `name` selects: `name = "twn"` or `name = { name = "twn" }`; `fallback` where
  /// the recipe does not say, an error where that is empty.
  std::string choose(std::string_view name, std::string_view fallback = "");

  /// The same where this section is the component's own table.
  std::string selected(std::string_view fallback = "");

  /// Full key in messages: "quant.rule[0].match"; of the section itself for an empty name.
  std::string key(std::string_view name = "") const;

  /// "file:line:column" of `name`, or of the innermost table around it that the recipe holds.
  std::string where(std::string_view name = "") const;

  /// @throws RecipeError  "file:line:column: 'key': why"
  [[noreturn]] void fail(std::string_view name, const std::string& why) const;

  /// Remembers that `name` would be known here if `owner` were selected.
  void note_other_key(std::string_view name, std::string_view owner);

 private:
  friend class Recipe;
  /// A key, and an index where the value below it is a list.
  struct Step {
    std::string key;
    int64_t index = -1;
  };
  Section(RecipeState* state, std::vector<Step> path) : state_(state), path_(std::move(path)) {}

  const Value* find(std::string_view name) const;
  Value& resolve(std::string_view name);
  [[noreturn]] void fail_type(std::string_view name, const char* expected, const Value& v) const;
  [[noreturn]] void fail_range(std::string_view name,
                               const std::string& lo,
                               const std::string& hi,
                               const std::string& found) const;
  template <typename T>
  void read_scalar(std::string_view name, T& value);
  template <typename T>
  void read_list(std::string_view name, std::vector<T>& value);

  void read_value(std::string_view name, bool& value);
  void read_value(std::string_view name, int64_t& value);
  void read_value(std::string_view name, double& value);
  void read_value(std::string_view name, std::string& value);
  void read_value(std::string_view name, std::filesystem::path& value);
  void read_value(std::string_view name, std::vector<int64_t>& value);
  void read_value(std::string_view name, std::vector<double>& value);
  void read_value(std::string_view name, std::vector<std::string>& value);
  void read_value(std::string_view name, std::vector<std::filesystem::path>& value);

  template <typename T, typename U>
  void check_range(std::string_view name, const std::vector<T>& values, Range<U> range) const {
    for (const T& value : values)
      check_range(name, value, range);
  }
  template <typename T, typename U>
  void check_range(std::string_view name, const T& value, Range<U> range) const {
    const T lo = static_cast<T>(range.lo);
    const T hi = static_cast<T>(range.hi);
    if (!(value >= lo && value <= hi))
      fail_range(name, to_text(lo), to_text(hi), to_text(value));
  }

  RecipeState* state_;
  std::vector<Step> path_;

 public:
  /// A value as messages and `sterna list` show it, which is how TOML spells it.
  static std::string to_text(bool value);
  static std::string to_text(int64_t value);
  static std::string to_text(double value);
  static std::string to_text(const std::string& value);
  static std::string to_text(const std::filesystem::path& value);
  template <typename T>
  static std::string to_text(const std::vector<T>& values) {
    std::string text;
    for (const T& value : values)
      text += (text.empty() ? "" : ", ") + to_text(value);
    return "[" + text + "]";
  }
};

}  // namespace sterna::recipes
