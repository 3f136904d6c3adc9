#include "trainer/text/jinja_expressions.h"

namespace sterna::text::jinja {
namespace {

ExpressionPtr binary(const Token& sign, ExpressionPtr left, ExpressionPtr right) {
  ExpressionPtr made = make_expression(ExpressionKind::kBinary, sign.offset, sign.text);
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

ExpressionPtr make_expression(ExpressionKind kind, size_t offset, std::string name) {
  auto made = std::make_unique<Expression>();
  made->kind = kind;
  made->offset = offset;
  made->name = std::move(name);
  return made;
}

ExpressionPtr ExpressionParser::tuple() {
  ExpressionPtr first = expression();
  if (!op(",")) {
    return first;
  }
  ExpressionPtr made = make_expression(ExpressionKind::kList, first->offset);
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
    ExpressionPtr made = make_expression(ExpressionKind::kCondition, take().offset);
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
    ExpressionPtr made = make_expression(ExpressionKind::kUnary, take().offset, "not");
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
    ExpressionPtr made = make_expression(ExpressionKind::kUnary, sign.offset, sign.text);
    made->children.push_back(postfix(primary()));
    return filtered(std::move(made));
  }
  return filtered(postfix(primary()));
}

ExpressionPtr ExpressionParser::primary() {
  const Token token = now();
  ExpressionPtr made = make_expression(ExpressionKind::kLiteral, token.offset);
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
    ExpressionPtr made = op(")") ? make_expression(ExpressionKind::kList, offset) : tuple();
    need_op(")");
    return made;
  }
  if (skip_op("[")) {
    ExpressionPtr made = make_expression(ExpressionKind::kList, offset);
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
  ExpressionPtr made = make_expression(ExpressionKind::kDict, offset);
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

}  // namespace sterna::text::jinja
