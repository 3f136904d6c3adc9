#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "trainer/text/jinja_allowance.h"

namespace sterna::text::jinja {

/// A value, or where in a variable it stands: messages are not copied to look at one field. No
/// expression changes a variable, so a place stays for as long as one is evaluated.
class Seen {
 public:
  explicit Seen(Value own) : own_(std::move(own)) {}
  explicit Seen(const Value* place) : place_(place) {}

  const Value& operator*() const { return place_ == nullptr ? own_ : *place_; }
  const Value* operator->() const { return &**this; }

  bool is_place() const { return place_ != nullptr; }
  /// The field or element, where this is a place and it has one; else null.
  const Value* part(const Value& key) const;
  Value take() && { return place_ == nullptr ? std::move(own_) : *place_; }

 private:
  Value own_;
  const Value* place_ = nullptr;
};

/// The variables of a template, in scopes, and what they take of its allowance.
class Variables {
 public:
  Variables(std::map<std::string, Value> given, Allowance& allowance);

  /// In the innermost scope that has it; null where none has.
  const Value* find(const std::string& name) const;

  /// Into the innermost scope. @throws std::invalid_argument  as Allowance does
  void put(const std::string& name, Value value);
  /// One name for the value, or as many as it has elements.
  void put(const std::vector<std::string>& names, const Value& value);
  /// A namespace lives where it was made, so that a loop can change it for what follows.
  void put_field(const std::string& name, const std::string& field, Value value);

  size_t scopes() const { return scopes_.size(); }
  void enter() { scopes_.emplace_back(); }
  /// Forgets what the innermost scope holds.
  void clear();
  void leave();

 private:
  struct Variable {
    Value value;
    size_t weight = 0;
  };
  void count(Variable& variable);

  Allowance& allowance_;
  std::vector<std::map<std::string, Variable>> scopes_;
};

}  // namespace sterna::text::jinja
