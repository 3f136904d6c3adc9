#include "trainer/text/jinja_render.h"

#include <stdexcept>
#include <utility>

#include "trainer/text/jinja_builtins.h"
#include "trainer/text/jinja_lexer.h"
#include "trainer/text/jinja_operators.h"
#include "trainer/text/jinja_variables.h"

namespace sterna::text::jinja {
namespace {

enum class Flow { kOn, kBreak, kContinue };

size_t weight_of(const std::map<std::string, Value>& variables) {
  size_t sum = 0;
  for (const auto& [name, value] : variables)
    sum += weight(value);
  return sum;
}

bool compares(const std::string& sign) {
  return sign == "==" || sign == "!=" || sign == "in" || sign == "not in";
}

class Renderer {
 public:
  Renderer(const Template& made, std::map<std::string, Value> variables)
      : template_(made),
        allowance_(made.source.size() + weight_of(variables)),
        variables_(std::move(variables), allowance_) {}

  std::string run() {
    block(template_.body);
    return std::move(out_);
  }

 private:
  // ---- statements

  Flow block(const Block& statements) {
    for (const Statement& one : statements) {
      if (const Flow flow = statement(one); flow != Flow::kOn) {
        return flow;
      }
    }
    return Flow::kOn;
  }

  Flow statement(const Statement& one) {
    at(one.offset, [&] { allowance_.spend(1); });
    switch (one.kind) {
      case StatementKind::kText:
        emit(one.text, one.offset);
        return Flow::kOn;
      case StatementKind::kPrint:
        emit(at(one.offset, [&] { return to_text(*see(*one.value)); }), one.offset);
        return Flow::kOn;
      case StatementKind::kIf:
        return block(truthy(*see(*one.value)) ? one.body : one.otherwise);
      case StatementKind::kFor:
        return loop(one);
      case StatementKind::kSet:
        put(one, one.names, value(*one.value));
        return Flow::kOn;
      case StatementKind::kSetField: {
        Value fresh = value(*one.value);
        at(one.offset, [&] { variables_.put_field(one.names[0], one.names[1], std::move(fresh)); });
        return Flow::kOn;
      }
      case StatementKind::kSetBlock:
        return set_block(one);
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kOn;
  }

  void emit(const std::string& text, size_t offset) {
    at(offset, [&] { allowance_.keep(text.size()); });
    out_ += text;
  }

  std::vector<Value> elements_of(const Statement& loop) {
    const Seen over = see(*loop.value);
    if (over->is_discarded())
      return {};
    return at(loop.offset, [&] {
      allowance_.made(*over);
      return elements(*over);
    });
  }

  Flow loop(const Statement& one) {
    std::vector<Value> kept = elements_of(one);
    size_t held = 0;
    at(one.offset, [&] {
      for (const Value& element : kept) {
        held += weight(element);
      }
      allowance_.keep(held);
    });
    variables_.enter();
    if (one.condition != nullptr) {
      std::erase_if(kept, [&](const Value& element) {
        put(one, one.names, element);
        return !truthy(*see(*one.condition));
      });
    }
    for (size_t i = 0; i < kept.size(); ++i) {
      variables_.clear();
      put(one, one.names, kept[i]);
      put(one, {"loop"}, loop_value(kept, i));
      if (block(one.body) == Flow::kBreak) {
        break;
      }
    }
    variables_.leave();
    allowance_.keep(0, held);
    return kept.empty() ? block(one.otherwise) : Flow::kOn;
  }

  void put(const Statement& one, const std::vector<std::string>& names, const Value& given) {
    at(one.offset, [&] { variables_.put(names, given); });
  }

  static Value loop_value(const std::vector<Value>& all, size_t i) {
    const size_t size = all.size();
    Value made = {{"index", i + 1},
                  {"index0", i},
                  {"revindex", size - i},
                  {"revindex0", size - i - 1},
                  {"first", i == 0},
                  {"last", i + 1 == size},
                  {"length", size}};
    if (i > 0) {
      made["previtem"] = all[i - 1];
    }
    if (i + 1 < size) {
      made["nextitem"] = all[i + 1];
    }
    return made;
  }

  Flow set_block(const Statement& one) {
    std::string outer = std::exchange(out_, "");
    const Flow flow = block(one.body);
    std::string text = std::exchange(out_, std::move(outer));
    allowance_.keep(0, text.size());
    put(one, one.names, std::move(text));
    return flow;
  }

  // ---- expressions

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
  Seen see(const Expression& one) {
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

  Seen part(const Expression& one, const Seen& object, const Value& key) {
    at(one.offset, [&] { allowance_.spend(object->is_object() ? object->size() / 8 : 0); });
    if (const Value* found = object.part(key)) {
      return Seen(found);
    }
    return Seen(at(one.offset, [&] { return item(*object, key); }));
  }

  Value value(const Expression& one) {
    Seen seen = see(one);
    if (seen.is_place()) {
      at(one.offset, [&] { allowance_.made(*seen); });
    }
    return std::move(seen).take();
  }

  Seen child(const Expression& one, size_t i) { return see(*one.children[i]); }

  Seen optional_child(const Expression& one, size_t i) {
    return one.children[i] == nullptr ? Seen(Value()) : child(one, i);
  }

  Value compute(const Expression& one) {
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

  Value list(const Expression& one) {
    Value made = Value::array();
    size_t bytes = 0;
    for (const ExpressionPtr& element : one.children) {
      made.push_back(value(*element));
      require_room(one, bytes += weight(made.back()));
    }
    return made;
  }

  Value dictionary(const Expression& one) {
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

  void require_room(const Expression& one, size_t bytes) {
    if (bytes > allowance_.most())
      fail(template_.source, one.offset, "a value is too large for a chat");
  }

  Value sliced(const Expression& one) {
    const Seen whole = child(one, 0);
    const Seen begin = optional_child(one, 1);
    const Seen end = optional_child(one, 2);
    const Seen step = optional_child(one, 3);
    return at(one.offset, [&] { return slice(*whole, *begin, *end, *step); });
  }

  Value unary(const Expression& one) {
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

  Value binary(const Expression& one) {
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

  Arguments arguments(const Expression& one, size_t from) {
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

  Value apply(const Builtin& builtin, const Expression& one) {
    const Seen given = child(one, 0);
    const Arguments rest = arguments(one, 1);
    return at(one.offset, [&] {
      allowance_.spend(given->size() / 8);
      return builtin(*given, rest);
    });
  }

  Value call(const Expression& one) {
    const Arguments given = arguments(one, 0);
    if (one.name == "raise_exception") {
      fail(template_.source,
           one.offset,
           "the template refuses these messages: " +
               at(one.offset, [&] { return to_text(given.get(0, "message", "")); }));
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

  const Template& template_;
  Allowance allowance_;
  Variables variables_;
  std::string out_;
};

}  // namespace

std::string render(const Template& made, std::map<std::string, Value> variables) {
  return Renderer(made, std::move(variables)).run();
}

}  // namespace sterna::text::jinja
