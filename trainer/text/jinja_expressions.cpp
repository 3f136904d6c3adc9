#include "trainer/text/jinja_expressions.h"

#include <array>
#include <string_view>

#include "trainer/text/jinja_builtins.h"

namespace sterna::text::jinja {
namespace {

constexpr std::array<std::string_view, 4> kFunctions{
    "namespace", "raise_exception", "range", "strftime_now"};

ExpressionPtr make(ExpressionKind kind, size_t offset, std::string name = "") {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->offset = offset;
  made->name = std::move(name);
  return made;
}

ExpressionPtr binary(const Token& sign, ExpressionPtr left, ExpressionPtr right) {
  ExpressionPtr made = make(ExpressionKind::kBinary, sign.offset, sign.text);
  made->children.push_back(std::move(left));
  made->children.push_back(std::move(right));
  return made;
}

ExpressionPtr named_value(const Token& token, ExpressionPtr made) {
  if (token.text == "true" || token.text == "True") {
    made->literal = true;
  } else if (token.text == "false" || token.text == "False") {
    made->literal = false;
  } else if (token.text != "none" && token.text != "None") {  // a literal is null at first
    made->kind = ExpressionKind::kName;
    made->name = token.text;
  }
  return made;
}

}  // namespace

ExpressionPtr ExpressionParser::tuple() {
  ExpressionPtr first = expression();
  if (!op(",")) {
    return first;
  }
  ExpressionPtr made = make(ExpressionKind::kList, first->offset);
  made->children.push_back(std::move(first));
  while (skip_op(",")) {
    made->children.push_back(expression());
  }
  return made;
}

ExpressionPtr ExpressionParser::expression() {
  const Deeper deeper(*this);
  ExpressionPtr value = disjunction();
  while (word("if")) {
    ExpressionPtr made = make(ExpressionKind::kCondition, take().offset);
    made->children.push_back(std::move(value));
    made->children.push_back(disjunction());
    made->children.push_back(skip_word("else") ? expression() : nullptr);
    value = std::move(made);
  }
  return value;
}

ExpressionPtr ExpressionParser::disjunction() {
  ExpressionPtr left = conjunction();
  while (word("or")) {
    const Token sign = take();
    left = binary(sign, std::move(left), conjunction());
  }
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  ExpressionPtr left = negation();
  while (word("and")) {
    const Token sign = take();
    left = binary(sign, std::move(left), negation());
  }
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (word("not")) {
    const Deeper deeper(*this);
    ExpressionPtr made = make(ExpressionKind::kUnary, take().offset, "not");
    made->children.push_back(negation());
    return made;
  }
  return comparison();
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr left = sum();
  for (bool first = true;; first = false) {
    Token sign = now();
    const bool absent = word("not") && ahead(1).kind == TokenKind::kName && ahead(1).text == "in";
    const bool known =
        op("==") || op("!=") || op("<") || op(">") || op("<=") || op(">=") || word("in") || absent;
    if (!known) {
      return left;
    }
    if (!first) {
      refuse("a chain of comparisons is not supported");
    }
    take();
    if (absent) {
      take();
      sign.text = "not in";
    }
    left = binary(sign, std::move(left), sum());
  }
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (op("+") || op("-")) {
    const Token sign = take();
    left = binary(sign, std::move(left), concatenation());
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr left = product();
  while (op("~")) {
    const Token sign = take();
    left = binary(sign, std::move(left), product());
  }
  return left;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = unary();
  while (op("*") || op("/") || op("//") || op("%")) {
    const Token sign = take();
    left = binary(sign, std::move(left), unary());
  }
  if (op("**")) {
    refuse("the operator '**' is not supported");
  }
  return left;
}

ExpressionPtr ExpressionParser::unary() {
  if (op("-") || op("+")) {
    const Deeper deeper(*this);
    const Token sign = take();
    ExpressionPtr made = make(ExpressionKind::kUnary, sign.offset, sign.text);
    made->children.push_back(postfix(primary()));
    return filtered(std::move(made));
  }
  return filtered(postfix(primary()));
}

ExpressionPtr ExpressionParser::primary() {
  const Token token = now();
  ExpressionPtr made = make(ExpressionKind::kLiteral, token.offset);
  switch (token.kind) {
    case TokenKind::kString:
      made->literal = "";
      while (now().kind == TokenKind::kString) {
        made->literal.get_ref<std::string&>() += take().text;
      }
      return made;
    case TokenKind::kInteger:
      if (token.text.size() > 18) {
        refuse("the number " + token.text + " is too large");
      }
      made->literal = static_cast<int64_t>(std::stoll(take().text));
      return made;
    case TokenKind::kFloat:
      made->literal = std::stod(take().text);
      return made;
    case TokenKind::kName:
      take();
      return named_value(token, std::move(made));
    default:
      return bracketed();
  }
}

ExpressionPtr ExpressionParser::bracketed() {
  const size_t offset = now().offset;
  if (skip_op("(")) {
    ExpressionPtr made = op(")") ? make(ExpressionKind::kList, offset) : tuple();
    need_op(")");
    return made;
  }
  if (skip_op("[")) {
    ExpressionPtr made = make(ExpressionKind::kList, offset);
    while (!op("]")) {
      made->children.push_back(expression());
      if (!skip_op(",")) {
        break;
      }
    }
    need_op("]");
    return made;
  }
  if (skip_op("{")) {
    return dictionary(offset);
  }
  refuse("expected a value" + found());
}

ExpressionPtr ExpressionParser::dictionary(size_t offset) {
  ExpressionPtr made = make(ExpressionKind::kDict, offset);
  while (!op("}")) {
    made->children.push_back(expression());
    need_op(":");
    made->children.push_back(expression());
    if (!skip_op(",")) {
      break;
    }
  }
  need_op("}");
  return made;
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  for (;;) {
    const size_t offset = now().offset;
    if (skip_op(".")) {
      const std::string attribute = name();
      ExpressionPtr made = make(ExpressionKind::kAttribute, offset, attribute);
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
  ExpressionPtr made = make(ExpressionKind::kCall, callee->offset, callee->name);
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
  ExpressionPtr made = make(slice ? ExpressionKind::kSlice : ExpressionKind::kIndex, offset);
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
      ExpressionPtr made = make(ExpressionKind::kFilter, offset, filter);
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
  ExpressionPtr made = make(ExpressionKind::kTest, offset, which);
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
  ExpressionPtr outer = make(ExpressionKind::kUnary, offset, "not");
  outer->children.push_back(std::move(made));
  return outer;
}

}  // namespace sterna::text::jinja
