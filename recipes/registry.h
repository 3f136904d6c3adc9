#pragma once

#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "recipes/components.h"
#include "recipes/recipe.h"

namespace sterna::recipes {

/// Maps the names a recipe may use to the components that implement `Base`.
///
/// A registry is filled by one visible function per folder (see quant/quantizers.cpp), never by
/// static initialisers: those vanish when the linker drops an object file of a static library.
template <class Base>
class Registry : public Components {
 public:
  /// Builds one more component with the settings that were read; needs no recipe any more.
  using Maker = std::function<std::unique_ptr<Base>()>;

  explicit Registry(std::string kind) : Components(std::move(kind)) {}

  /// Adds `Component`. Its nested `Config`, if it has one, lists its recipe keys in fields() and is
  /// what it is constructed from; a component without Config is default-constructed.
  /// @throws std::logic_error  if `name` is already taken
  template <class Component>
  void add(std::string name, std::string summary) {
    if constexpr (requires { typename Component::Config; }) {
      using Config = typename Component::Config;
      add_entry({name, std::move(summary), list_fields<Config>()});
      make_[name] = [](Section* section) -> Maker {
        const Config config = section != nullptr ? section->read<Config>() : Config();
        return [config] { return std::make_unique<Component>(config); };
      };
    } else {
      add_entry({name, std::move(summary), {}});
      make_[name] = [](Section*) -> Maker { return [] { return std::make_unique<Component>(); }; };
    }
  }

  /// Reads which component `parent`.`key` selects and its fields, once. `fallback` is the
  /// component of a recipe that does not say.
  Maker maker(Section parent, std::string_view key, std::string_view fallback = "") const {
    Section own = parent.sub(key);
    const std::string name = own.selected(fallback);
    return maker_named(name, own);
  }

  /// The component `name` with the fields that stand in `own`.
  Maker maker_named(const std::string& name, Section own) const {
    require(name, own);
    return make_.at(name)(&own);
  }

  std::unique_ptr<Base> build(Section parent,
                              std::string_view key,
                              std::string_view fallback = "") const {
    return maker(parent, key, fallback)();
  }

  std::unique_ptr<Base> build_named(const std::string& name, Section own) const {
    return maker_named(name, own)();
  }

  /// The component with every default; for contract tests.
  std::unique_ptr<Base> make_default(const std::string& name) const {
    return make_.at(name)(nullptr)();
  }

 private:
  std::map<std::string, std::function<Maker(Section*)>, std::less<>> make_;
};

}  // namespace sterna::recipes
