#pragma once

#include <iosfwd>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "recipes/recipe.h"

namespace sterna::recipes {

/// One key that a recipe may hold.
struct Field {
  std::string name;
  std::string type;           ///< "integer", "list of numbers"
  std::string default_value;  ///< as TOML
  std::string allowed;        ///< "0 to 2", "none | start"; empty where anything goes
  std::string help;
};

/// A component's name, what it is and the keys of its table.
struct ComponentInfo {
  std::string name;
  std::string summary;
  std::vector<Field> fields;
};

/// A visitor that lists fields instead of reading them.
class FieldLister {
 public:
  template <typename T>
  void operator()(std::string_view name, T& value, std::string_view help) {
    add<T>(name, value, "", help);
  }

  template <typename T, typename U>
  void operator()(std::string_view name, T& value, std::string_view help, Range<U> range) {
    add<T>(name, value, range_text(value, range), help);
  }

  template <typename T>
  void operator()(std::string_view name, T& value, std::string_view help, const OneOf& allowed) {
    std::string choices;
    for (const std::string& choice : allowed.choices)
      choices += (choices.empty() ? "" : " | ") + choice;
    add<T>(name, value, choices, help);
  }

  std::vector<Field> take() { return std::move(fields_); }

 private:
  static const char* type_name(bool) { return "boolean"; }
  static const char* type_name(int64_t) { return "integer"; }
  static const char* type_name(double) { return "number"; }
  static const char* type_name(const std::string&) { return "text"; }
  static const char* type_name(const std::filesystem::path&) { return "path"; }
  template <typename T>
  static std::string type_name(const std::vector<T>&) {
    std::string name = "list of ";
    name += type_name(T{});
    if (!std::is_same_v<T, std::string>)
      name += "s";
    return name;
  }

  template <typename T, typename U>
  static std::string range_text(const T&, Range<U> range) {
    return Section::to_text(static_cast<T>(range.lo)) + " to " +
           Section::to_text(static_cast<T>(range.hi));
  }
  template <typename T, typename U>
  static std::string range_text(const std::vector<T>&, Range<U> range) {
    return range_text(T{}, range);
  }

  template <typename T>
  void add(std::string_view name, const T& value, std::string allowed, std::string_view help) {
    fields_.push_back({std::string(name),
                       std::string(type_name(value)),
                       Section::to_text(value),
                       std::move(allowed),
                       std::string(help)});
  }

  std::vector<Field> fields_;
};

/// The fields of a config struct, with the defaults that it is constructed with.
template <class Config>
std::vector<Field> list_fields() {
  Config config;
  FieldLister lister;
  config.fields(lister);
  return lister.take();
}

class Components;

/// A key whose value selects a component: by its name, or as a table with `name` and its fields.
/// @param more  texts that are allowed beside the names
Field component_field(std::string name,
                      const Components& registry,
                      const std::string& default_name,
                      std::string help,
                      const std::vector<std::string>& more = {});

/// What a registry knows of its components without building one; `sterna list` prints it.
class Components {
 public:
  explicit Components(std::string kind) : kind_(std::move(kind)) {}

  const std::string& kind() const { return kind_; }  ///< "quantizer"
  const std::vector<ComponentInfo>& all() const { return all_; }
  std::vector<std::string> names() const;  ///< in alphabetical order
  bool contains(std::string_view name) const;

  /// Name, summary and fields with default, range and help of every component, as text.
  void describe(std::ostream& out) const;

 protected:
  /// @throws std::logic_error  if the name is taken
  void add_entry(ComponentInfo component);

  /// Fails at `own` where no component is called `name`; else notes the keys of the others, so
  /// that a key of a component not selected can be told from a typo.
  void require(const std::string& name, Section& own) const;

 private:
  std::string kind_;
  std::vector<ComponentInfo> all_;  // by name
};

}  // namespace sterna::recipes
