#pragma once

#include <cstddef>

#include "trainer/text/jinja_ast.h"

namespace sterna::text::jinja {

/// Roughly the bytes that a value takes, all of its parts counted.
/// @throws std::invalid_argument  where lists and mappings are nested more than 64 deep
size_t weight(const Value& value, int depth = 0);

/// What one rendering may take. A template comes from elsewhere: nested loops, texts that double
/// and lists of lists of themselves would take any time and memory. The allowance grows with the
/// template and the messages, far beyond what a chat needs. Everything throws
/// std::invalid_argument.
class Allowance {
 public:
  /// @param given  weight of the template and of what it is rendered with
  explicit Allowance(size_t given);

  /// Counts work: about what it takes to look at one value.
  void spend(size_t steps);

  /// What any one value, and all variables and the output together, may weigh.
  size_t most() const { return most_; }

  /// Counts a value that was made.
  void made(const Value& value);

  /// Counts what is kept: a variable, a part of the output; `before` stood in its place.
  void keep(size_t after, size_t before = 0);

 private:
  size_t most_;
  size_t steps_;
  size_t kept_ = 0;
};

}  // namespace sterna::text::jinja
