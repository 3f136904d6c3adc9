// What stands behind a value: attributes, indices, calls, filters, tests.
#include <array>
#include <string_view>

#include "trainer/text/jinja_builtins.h"
#include "trainer/text/jinja_expressions.h"

namespace sterna::text::jinja {
namespace {

constexpr std::array<std::string_view, 4> kFunctions{
    "namespace", "raise_exception", "range", "strftime_now"};

}  // namespace

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  for (;;) {
    const size_t offset = now().offset;
    if (skip_op(".")) {
      const std::string attribute = name();
      ExpressionPtr made = make_expression(ExpressionKind::kAttribute, offset, attribute);
      made->children.push_back(std::move(object));
      if (op("(")) {
        check(find_method(attribute) != nullptr, offset, "method", attribute);
        made->kind = ExpressionKind::kMethod;
        arguments(*made);
      }
      object = std::move(made);
    } else if (skip_op("[")) {
      object = subscript(std::move(object), offset);
    } else if (op("(")) {
      object = call(std::move(object));
    } else {
      return object;
    }
  }
}

ExpressionPtr ExpressionParser::call(ExpressionPtr callee) {
  bool known = false;
  for (const std::string_view function : kFunctions) {
    known = known || (callee->kind == ExpressionKind::kName && callee->name == function);
  }
  check(known, callee->offset, "function", callee->name);
  ExpressionPtr made = make_expression(ExpressionKind::kCall, callee->offset, callee->name);
  arguments(*made);
  return made;
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object, size_t offset) {
  std::vector<ExpressionPtr> parts(1);
  bool slice = false;
  while (!op("]")) {
    if (parts.size() < 3 && skip_op(":")) {
      slice = true;
      parts.emplace_back();
    } else if (parts.back() == nullptr && !op(":")) {
      parts.back() = expression();
    } else {
      refuse("expected ']'" + found());
    }
  }
  need_op("]");
  if (!slice && parts[0] == nullptr) {
    refuse("expected an index");
  }
  ExpressionPtr made =
      make_expression(slice ? ExpressionKind::kSlice : ExpressionKind::kIndex, offset);
  parts.resize(slice ? 3 : 1);
  made->children.push_back(std::move(object));
  for (ExpressionPtr& part : parts) {
    made->children.push_back(std::move(part));
  }
  return made;
}

void ExpressionParser::arguments(Expression& made) {
  need_op("(");
  while (!op(")")) {
    const bool keyword = now().kind == TokenKind::kName && ahead(1).kind == TokenKind::kOperator &&
                         ahead(1).text == "=";
    if (keyword) {
      std::string key = name();
      take();
      made.named.emplace_back(std::move(key), expression());
    } else {
      made.children.push_back(expression());
    }
    if (!skip_op(",")) {
      break;
    }
  }
  need_op(")");
}

ExpressionPtr ExpressionParser::filtered(ExpressionPtr value) {
  for (;;) {
    const size_t offset = now().offset;
    if (skip_op("|")) {
      const std::string filter = name();
      check(find_filter(filter) != nullptr, offset, "filter", filter);
      ExpressionPtr made = make_expression(ExpressionKind::kFilter, offset, filter);
      made->children.push_back(std::move(value));
      if (op("(")) {
        arguments(*made);
      }
      value = std::move(made);
    } else if (skip_word("is")) {
      value = test(std::move(value), offset);
    } else {
      return value;
    }
  }
}

ExpressionPtr ExpressionParser::test(ExpressionPtr value, size_t offset) {
  const bool negated = skip_word("not");
  const std::string which = name();
  check(find_test(which) != nullptr, offset, "test", which);
  ExpressionPtr made = make_expression(ExpressionKind::kTest, offset, which);
  made->children.push_back(std::move(value));
  const bool keyword = word("else") || word("or") || word("and") || word("is") || word("if");
  const bool bare = now().kind == TokenKind::kString || now().kind == TokenKind::kInteger ||
                    op("[") || (now().kind == TokenKind::kName && !keyword);
  if (op("(")) {
    arguments(*made);
  } else if (bare) {  // "is in ['user']"
    made->children.push_back(postfix(primary()));
  }
  if (!negated) {
    return made;
  }
  ExpressionPtr outer = make_expression(ExpressionKind::kUnary, offset, "not");
  outer->children.push_back(std::move(made));
  return outer;
}

}  // namespace sterna::text::jinja
