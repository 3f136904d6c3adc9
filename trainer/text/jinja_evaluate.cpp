#include "trainer/text/jinja_evaluate.h"

#include <utility>

#include "trainer/text/jinja_operators.h"

namespace sterna::text::jinja {
namespace {

bool compares(const std::string& sign) {
  return sign == "==" || sign == "!=" || sign == "in" || sign == "not in";
}

}  // namespace

Seen Evaluator::see(const Expression& one) {
  at(one.offset, [&] { allowance_.spend(1 + variables_.scopes() / 8); });
  switch (one.kind) {
    case ExpressionKind::kLiteral:
      return Seen(&one.literal);
    case ExpressionKind::kName: {
      const Value* found = variables_.find(one.name);
      return found == nullptr ? Seen(undefined()) : Seen(found);
    }
    case ExpressionKind::kAttribute:
      return part(one, see(*one.children[0]), one.name);
    case ExpressionKind::kIndex: {
      const Seen object = see(*one.children[0]);
      return part(one, object, *see(*one.children[1]));
    }
    default: {
      Value made = compute(one);
      at(one.offset, [&] { allowance_.made(made); });
      return Seen(std::move(made));
    }
  }
}

Seen Evaluator::part(const Expression& one, const Seen& object, const Value& key) {
  at(one.offset, [&] { allowance_.spend(object->is_object() ? object->size() / 8 : 0); });
  if (const Value* found = object.part(key)) {
    return Seen(found);
  }
  return Seen(at(one.offset, [&] { return item(*object, key); }));
}

Value Evaluator::value(const Expression& one) {
  Seen seen = see(one);
  if (seen.is_place()) {
    at(one.offset, [&] { allowance_.made(*seen); });
  }
  return std::move(seen).take();
}

Seen Evaluator::optional_child(const Expression& one, size_t i) {
  return one.children[i] == nullptr ? Seen(Value()) : child(one, i);
}

Value Evaluator::compute(const Expression& one) {
  switch (one.kind) {
    case ExpressionKind::kList:
      return list(one);
    case ExpressionKind::kDict:
      return dictionary(one);
    case ExpressionKind::kSlice:
      return sliced(one);
    case ExpressionKind::kUnary:
      return unary(one);
    case ExpressionKind::kBinary:
      return binary(one);
    case ExpressionKind::kCondition:
      return truthy(*child(one, 1))       ? *child(one, 0)
             : one.children[2] != nullptr ? *child(one, 2)
                                          : undefined();
    case ExpressionKind::kFilter:
      return apply(*find_filter(one.name), one);
    case ExpressionKind::kTest:
      return apply(*find_test(one.name), one);
    case ExpressionKind::kMethod:
      return apply(*find_method(one.name), one);
    case ExpressionKind::kCall:
      return call(one);
    default:
      return undefined();  // see() knows the others
  }
}

Value Evaluator::list(const Expression& one) {
  Value made = Value::array();
  size_t bytes = 0;
  for (const ExpressionPtr& element : one.children) {
    made.push_back(value(*element));
    require_room(one, bytes += weight(made.back()));
  }
  return made;
}

Value Evaluator::dictionary(const Expression& one) {
  Value made = Value::object();
  size_t bytes = 0;
  for (size_t i = 0; i < one.children.size(); i += 2) {
    const Seen key = child(one, i);
    const std::string text = at(one.offset, [&] { return to_text(*key); });
    Value& field = made[text] = value(*one.children[i + 1]);
    require_room(one, bytes += text.size() + weight(field));
  }
  return made;
}

void Evaluator::require_room(const Expression& one, size_t bytes) {
  if (bytes > allowance_.most())
    fail(template_.source, one.offset, "a value is too large for a chat");
}

Value Evaluator::sliced(const Expression& one) {
  const Seen whole = child(one, 0);
  const Seen begin = optional_child(one, 1);
  const Seen end = optional_child(one, 2);
  const Seen step = optional_child(one, 3);
  return at(one.offset, [&] { return slice(*whole, *begin, *end, *step); });
}

Value Evaluator::unary(const Expression& one) {
  const Seen given = child(one, 0);
  if (one.name == "not") {
    return !truthy(*given);
  }
  if (!given->is_number()) {
    fail(template_.source, one.offset, "the sign needs a number");
  }
  if (one.name == "+") {
    return *given;
  }
  if (given->is_number_float()) {
    return -given->get<double>();
  }
  return at(one.offset, [&] { return operate("-", 0, *given); });
}

Value Evaluator::binary(const Expression& one) {
  const Seen left = child(one, 0);
  if (one.name == "and") {
    return truthy(*left) ? *child(one, 1) : *left;
  }
  if (one.name == "or") {
    return truthy(*left) ? *left : *child(one, 1);
  }
  const Seen right = child(one, 1);
  return at(one.offset, [&] {
    if (compares(one.name)) {  // of other operators the result says what they took
      allowance_.made(*left);
      allowance_.made(*right);
    }
    return operate(one.name, *left, *right);
  });
}

Arguments Evaluator::arguments(const Expression& one, size_t from) {
  Arguments made;
  made.most = allowance_.most();
  for (size_t i = from; i < one.children.size(); ++i) {
    made.values.push_back(value(*one.children[i]));
  }
  for (const auto& [name, given] : one.named) {
    made.named[name] = value(*given);
  }
  return made;
}

Value Evaluator::apply(const Builtin& builtin, const Expression& one) {
  const Seen given = child(one, 0);
  const Arguments rest = arguments(one, 1);
  return at(one.offset, [&] {
    allowance_.spend(given->size() / 8);
    return builtin(*given, rest);
  });
}

Value Evaluator::call(const Expression& one) {
  const Arguments given = arguments(one, 0);
  if (one.name == "raise_exception") {
    fail(
        template_.source, one.offset, "the template refuses these messages: " + at(one.offset, [&] {
                                        return to_text(given.get(0, "message", ""));
                                      }));
  }
  if (one.name == "namespace") {
    Value made = Value::object();
    for (const auto& [name, field] : given.named) {
      made[name] = field;
    }
    return made;
  }
  if (one.name == "range") {
    return at(one.offset, [&] { return range(given); });
  }
  fail(template_.source, one.offset, "the function '" + one.name + "' is not defined");
}

}  // namespace sterna::text::jinja
