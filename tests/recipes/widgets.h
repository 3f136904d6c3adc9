#pragma once

#include <sstream>
#include <string>

#include "recipes/registry.h"

/// A small registry that tests of recipes build from.
namespace sterna::recipes::tests {

struct Widget {
  virtual ~Widget() = default;
};

struct Gear : Widget {
  struct Config {
    int64_t teeth = 12;
    double pitch = 1.5;
    std::string metal = "steel";
    template <class V>
    void fields(V& v) {
      v("teeth", teeth, "number of teeth", Range{1, 100});
      v("pitch", pitch, "millimetres between teeth");
      v("metal", metal, "what it is made of", OneOf{"steel", "brass"});
    }
  };
  explicit Gear(Config c) : config(std::move(c)) {}
  Config config;
};

struct Spring : Widget {
  struct Config {
    double stiffness = 1;
    template <class V>
    void fields(V& v) {
      v("stiffness", stiffness, "newtons per metre");
    }
  };
  explicit Spring(Config c) : config(c) {}
  Config config;
};

struct Peg : Widget {};

inline Registry<Widget> widgets() {
  Registry<Widget> r("widget");
  r.add<Gear>("gear", "a toothed wheel");
  r.add<Spring>("spring", "a coil");
  r.add<Peg>("peg", "no settings at all");
  return r;
}

inline std::string written(const Recipe& recipe) {
  std::ostringstream out;
  recipe.write(out);
  return out.str();
}

/// The error text of `action`, or "" where it went through.
template <class Action>
std::string error_of(Action action) {
  try {
    action();
    return "";
  } catch (const RecipeError& error) {
    return error.what();
  }
}

}  // namespace sterna::recipes::tests
