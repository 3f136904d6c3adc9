#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace sterna::text::jinja {

/// A value of a template: JSON, or undefined (`discarded`).
using Value = nlohmann::ordered_json;

inline Value undefined() {
  return Value(Value::value_t::discarded);
}

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

enum class ExpressionKind {
  kLiteral,
  kName,
  kList,
  kDict,       ///< children: key, value, key, value
  kAttribute,  ///< children: object; name
  kIndex,      ///< children: object, index
  kSlice,      ///< children: object, begin, end, step; absent ones are null
  kUnary,      ///< name: not, -, +
  kBinary,     ///< name: the operator
  kCondition,  ///< children: value, condition, alternative or null
  kFilter,     ///< children: value, arguments; name
  kTest,       ///< children: value, arguments; name
  kMethod,     ///< children: object, arguments; name
  kCall,       ///< children: arguments; name
};

struct Expression {
  ExpressionKind kind = ExpressionKind::kLiteral;
  size_t offset = 0;
  std::string name;
  Value literal;
  std::vector<ExpressionPtr> children;
  std::vector<std::pair<std::string, ExpressionPtr>> named;  ///< keyword arguments
};

struct Statement;
using Block = std::vector<Statement>;

enum class StatementKind {
  kText,
  kPrint,     ///< value
  kIf,        ///< branches
  kFor,       ///< targets in value; filter in condition; body, otherwise
  kSet,       ///< names, value
  kSetField,  ///< names: object, field; value
  kSetBlock,  ///< names, body
  kBreak,
  kContinue,
};

struct Statement {
  StatementKind kind = StatementKind::kText;
  size_t offset = 0;
  std::string text;
  std::vector<std::string> names;
  ExpressionPtr value;
  ExpressionPtr condition;
  Block body;
  Block otherwise;
};

/// A template that was read. An `if` with `elif` is an `if` inside `otherwise`.
struct Template {
  std::string source;
  Block body;
};

}  // namespace sterna::text::jinja
