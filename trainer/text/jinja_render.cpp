#include "trainer/text/jinja_render.h"

#include <stdexcept>
#include <utility>

#include "trainer/text/jinja_builtins.h"
#include "trainer/text/jinja_lexer.h"
#include "trainer/text/jinja_operators.h"

namespace sterna::text::jinja {
namespace {

enum class Flow { kOn, kBreak, kContinue };

class Renderer {
 public:
  Renderer(const Template& made, std::map<std::string, Value> variables) : template_(made) {
    scopes_.push_back(std::move(variables));
  }

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
    switch (one.kind) {
      case StatementKind::kText:
        out_ += one.text;
        return Flow::kOn;
      case StatementKind::kPrint:
        out_ += at(one.offset, [&] { return to_text(value(*one.value)); });
        return Flow::kOn;
      case StatementKind::kIf:
        return block(truthy(value(*one.value)) ? one.body : one.otherwise);
      case StatementKind::kFor:
        return loop(one);
      case StatementKind::kSet:
        assign(one.names, value(*one.value), one.offset);
        return Flow::kOn;
      case StatementKind::kSetField:
        set_field(one);
        return Flow::kOn;
      case StatementKind::kSetBlock:
        return set_block(one);
      case StatementKind::kBreak:
        return Flow::kBreak;
      case StatementKind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kOn;
  }

  Flow loop(const Statement& one) {
    const Value over = value(*one.value);
    std::vector<Value> kept =
        over.is_discarded() ? std::vector<Value>() : at(one.offset, [&] { return elements(over); });
    scopes_.emplace_back();
    if (one.condition != nullptr) {
      std::erase_if(kept, [&](const Value& element) {
        assign(one.names, element, one.offset);
        return !truthy(value(*one.condition));
      });
    }
    for (size_t i = 0; i < kept.size(); ++i) {
      scopes_.back().clear();
      assign(one.names, kept[i], one.offset);
      scopes_.back()["loop"] = loop_value(kept, i);
      if (block(one.body) == Flow::kBreak) {
        break;
      }
    }
    scopes_.pop_back();
    return kept.empty() ? block(one.otherwise) : Flow::kOn;
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

  void assign(const std::vector<std::string>& names, const Value& given, size_t offset) {
    if (names.size() == 1) {
      scopes_.back()[names[0]] = given;
      return;
    }
    if (!given.is_array() || given.size() != names.size()) {
      fail(template_.source, offset, "cannot unpack a value into these names");
    }
    for (size_t i = 0; i < names.size(); ++i) {
      scopes_.back()[names[i]] = given[i];
    }
  }

  // A namespace lives where it was made, so that a loop can change it for what follows.
  void set_field(const Statement& one) {
    Value* found = find(one.names[0]);
    if (found == nullptr || !found->is_object()) {
      fail(template_.source, one.offset, "'" + one.names[0] + "' is no namespace");
    }
    Value fresh = value(*one.value);
    (*found)[one.names[1]] = std::move(fresh);
  }

  Flow set_block(const Statement& one) {
    std::string outer = std::exchange(out_, "");
    const Flow flow = block(one.body);
    scopes_.back()[one.names[0]] = std::exchange(out_, std::move(outer));
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

  Value* find(const std::string& name) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      if (const auto found = scope->find(name); found != scope->end()) {
        return &found->second;
      }
    }
    return nullptr;
  }

  Value child(const Expression& one, size_t i) { return value(*one.children[i]); }

  Value optional_child(const Expression& one, size_t i) {
    return one.children[i] == nullptr ? Value() : child(one, i);
  }

  Value value(const Expression& one) {
    switch (one.kind) {
      case ExpressionKind::kLiteral:
        return one.literal;
      case ExpressionKind::kName: {
        const Value* found = find(one.name);
        return found == nullptr ? undefined() : *found;
      }
      case ExpressionKind::kList:
        return list(one);
      case ExpressionKind::kDict:
        return dictionary(one);
      case ExpressionKind::kAttribute: {
        const Value object = child(one, 0);
        return at(one.offset, [&] { return item(object, one.name); });
      }
      case ExpressionKind::kIndex: {
        const Value object = child(one, 0);
        const Value key = child(one, 1);
        return at(one.offset, [&] { return item(object, key); });
      }
      case ExpressionKind::kSlice:
        return sliced(one);
      case ExpressionKind::kUnary:
        return unary(one);
      case ExpressionKind::kBinary:
        return binary(one);
      case ExpressionKind::kCondition:
        return truthy(child(one, 1))        ? child(one, 0)
               : one.children[2] != nullptr ? child(one, 2)
                                            : undefined();
      case ExpressionKind::kFilter:
        return apply(*find_filter(one.name), one);
      case ExpressionKind::kTest:
        return apply(*find_test(one.name), one);
      case ExpressionKind::kMethod:
        return apply(*find_method(one.name), one);
      case ExpressionKind::kCall:
        return call(one);
    }
    return undefined();
  }

  Value list(const Expression& one) {
    Value made = Value::array();
    for (const ExpressionPtr& element : one.children) {
      made.push_back(value(*element));
    }
    return made;
  }

  Value dictionary(const Expression& one) {
    Value made = Value::object();
    for (size_t i = 0; i < one.children.size(); i += 2) {
      const Value key = child(one, i);
      const std::string text = at(one.offset, [&] { return to_text(key); });
      made[text] = child(one, i + 1);
    }
    return made;
  }

  Value sliced(const Expression& one) {
    const Value whole = child(one, 0);
    const Value begin = optional_child(one, 1);
    const Value end = optional_child(one, 2);
    const Value step = optional_child(one, 3);
    return at(one.offset, [&] { return slice(whole, begin, end, step); });
  }

  Value unary(const Expression& one) {
    const Value given = child(one, 0);
    if (one.name == "not") {
      return !truthy(given);
    }
    if (!given.is_number()) {
      fail(template_.source, one.offset, "the sign needs a number");
    }
    if (one.name == "+") {
      return given;
    }
    return given.is_number_float() ? Value(-given.get<double>()) : Value(-given.get<int64_t>());
  }

  Value binary(const Expression& one) {
    const Value left = child(one, 0);
    if (one.name == "and") {
      return truthy(left) ? child(one, 1) : left;
    }
    if (one.name == "or") {
      return truthy(left) ? left : child(one, 1);
    }
    const Value right = child(one, 1);
    return at(one.offset, [&] { return operate(one.name, left, right); });
  }

  Arguments arguments(const Expression& one, size_t from) {
    Arguments made;
    for (size_t i = from; i < one.children.size(); ++i) {
      made.values.push_back(child(one, i));
    }
    for (const auto& [name, given] : one.named) {
      made.named[name] = value(*given);
    }
    return made;
  }

  Value apply(const Builtin& builtin, const Expression& one) {
    const Value given = child(one, 0);
    const Arguments rest = arguments(one, 1);
    return at(one.offset, [&] { return builtin(given, rest); });
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
  std::vector<std::map<std::string, Value>> scopes_;
  std::string out_;
};

}  // namespace

std::string render(const Template& made, std::map<std::string, Value> variables) {
  return Renderer(made, std::move(variables)).run();
}

}  // namespace sterna::text::jinja
