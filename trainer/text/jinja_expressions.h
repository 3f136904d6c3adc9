#pragma once

#include <string>

#include "trainer/text/jinja_ast.h"
#include "trainer/text/jinja_cursor.h"

namespace sterna::text::jinja {

/// One without children.
ExpressionPtr make_expression(ExpressionKind kind, size_t offset, std::string name = "");

/// Reads expressions by Jinja's grammar, one function for each level of precedence.
class ExpressionParser : public Cursor {
 public:
  using Cursor::Cursor;

  ExpressionPtr expression();
  /// One expression, or several with commas between them as a list.
  ExpressionPtr tuple();
  /// An expression without a conditional, as behind `in` of a loop.
  ExpressionPtr disjunction();

 private:
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr unary();
  ExpressionPtr primary();
  ExpressionPtr bracketed();
  ExpressionPtr dictionary(size_t offset);
  ExpressionPtr postfix(ExpressionPtr object);
  ExpressionPtr call(ExpressionPtr callee);
  ExpressionPtr subscript(ExpressionPtr object, size_t offset);
  ExpressionPtr filtered(ExpressionPtr value);
  ExpressionPtr test(ExpressionPtr value, size_t offset);
  /// "( a, b, c = d )", appended to what `made` holds already.
  void arguments(Expression& made);
};

}  // namespace sterna::text::jinja
