#include "recipes/components.h"

#include <algorithm>
#include <ostream>
#include <stdexcept>

#include "recipes/suggest.h"

namespace sterna::recipes {
namespace {

bool by_name(const ComponentInfo& component, std::string_view name) {
  return component.name < name;
}

void describe_field(const Field& field, std::ostream& out) {
  out << "    " << field.name << " = " << field.default_value << "  (" << field.type;
  if (!field.allowed.empty())
    out << ", " << field.allowed;
  out << ")\n        " << field.help << "\n";
}

}  // namespace

Field component_field(std::string name,
                      const Components& registry,
                      const std::string& default_name,
                      std::string help,
                      const std::vector<std::string>& more) {
  std::string allowed;
  for (const std::vector<std::string>& texts : {more, registry.names()}) {
    for (const std::string& text : texts)
      allowed += (allowed.empty() ? "" : " | ") + text;
  }
  return {std::move(name),
          registry.kind() + ", by name or as a table",
          Section::to_text(default_name),
          std::move(allowed),
          std::move(help)};
}

std::vector<std::string> Components::names() const {
  std::vector<std::string> result;
  for (const ComponentInfo& component : all_)
    result.push_back(component.name);
  return result;
}

bool Components::contains(std::string_view name) const {
  const auto it = std::lower_bound(all_.begin(), all_.end(), name, by_name);
  return it != all_.end() && it->name == name;
}

void Components::describe(std::ostream& out) const {
  for (const ComponentInfo& component : all_) {
    out << kind_ << " " << component.name << ": " << component.summary << "\n";
    for (const Field& field : component.fields)
      describe_field(field, out);
  }
}

void Components::add_entry(ComponentInfo component) {
  const auto it = std::lower_bound(all_.begin(), all_.end(), component.name, by_name);
  if (it != all_.end() && it->name == component.name)
    throw std::logic_error(kind_ + " '" + component.name + "' registered twice");
  all_.insert(it, std::move(component));
}

void Components::require(const std::string& name, Section& own) const {
  if (!contains(name)) {
    std::string known;
    for (const ComponentInfo& component : all_)
      known += (known.empty() ? "" : ", ") + component.name;
    const std::string near = did_you_mean(name, names());
    own.fail("",
             "no " + kind_ + " named '" + name + "'" + (near.empty() ? "; known: " + known : near));
  }
  for (const ComponentInfo& other : all_) {
    if (other.name == name)
      continue;
    for (const Field& field : other.fields)
      own.note_other_key(field.name, kind_ + " '" + other.name + "'");
  }
}

}  // namespace sterna::recipes
