#pragma once

#include <stdexcept>

#include "trainer/text/jinja_ast.h"
#include "trainer/text/jinja_builtins.h"
#include "trainer/text/jinja_lexer.h"
#include "trainer/text/jinja_variables.h"

namespace sterna::text::jinja {

/// Computes the expressions of a template.
class Evaluator {
 public:
  /// All of it outlives this.
  Evaluator(const Template& made, Allowance& allowance, const Variables& variables)
      : template_(made), allowance_(allowance), variables_(variables) {}

  /// Runs `work` and adds the place to what it throws.
  template <class Work>
  auto at(size_t offset, const Work& work) const -> decltype(work()) {
    try {
      return work();
    } catch (const std::invalid_argument& error) {
      fail(template_.source, offset, error.what());
    } catch (const nlohmann::json::exception&) {
      fail(template_.source, offset, "the operation does not fit the types of its values");
    }
  }

  /// A value that is only looked at.
  Seen see(const Expression& one);

  Value value(const Expression& one);

 private:
  Seen part(const Expression& one, const Seen& object, const Value& key);
  Seen optional_child(const Expression& one, size_t i);
  Value compute(const Expression& one);
  Value list(const Expression& one);
  Value dictionary(const Expression& one);
  void require_room(const Expression& one, size_t bytes);
  Value sliced(const Expression& one);
  Value unary(const Expression& one);
  Value binary(const Expression& one);
  Arguments arguments(const Expression& one, size_t from);
  Value apply(const Builtin& builtin, const Expression& one);
  Value call(const Expression& one);
  Seen child(const Expression& one, size_t i) { return see(*one.children[i]); }

  const Template& template_;
  Allowance& allowance_;
  const Variables& variables_;
};

}  // namespace sterna::text::jinja
