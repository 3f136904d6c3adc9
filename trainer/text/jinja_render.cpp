#include "trainer/text/jinja_render.h"

#include <utility>

#include "trainer/text/jinja_evaluate.h"

namespace sterna::text::jinja {
namespace {

enum class Flow { kOn, kBreak, kContinue };

size_t weight_of(const std::map<std::string, Value>& variables) {
  size_t sum = 0;
  for (const auto& [name, value] : variables)
    sum += weight(value);
  return sum;
}

class Renderer {
 public:
  Renderer(const Template& made, std::map<std::string, Value> variables)
      : template_(made),
        allowance_(made.source.size() + weight_of(variables)),
        variables_(std::move(variables), allowance_),
        expressions_(made, allowance_, variables_) {}

  std::string run() {
    block(template_.body);
    return std::move(out_);
  }

 private:
  Flow block(const Block& statements) {
    for (const Statement& one : statements) {
      if (const Flow flow = statement(one); flow != Flow::kOn) {
        return flow;
      }
    }
    return Flow::kOn;
  }

  Flow statement(const Statement& one) {
    expressions_.at(one.offset, [&] { allowance_.spend(1); });
    switch (one.kind) {
      case StatementKind::kText:
        emit(one.text, one.offset);
        return Flow::kOn;
      case StatementKind::kPrint:
        emit(expressions_.at(one.offset, [&] { return to_text(*expressions_.see(*one.value)); }),
             one.offset);
        return Flow::kOn;
      case StatementKind::kIf:
        return block(truthy(*expressions_.see(*one.value)) ? one.body : one.otherwise);
      case StatementKind::kFor:
        return loop(one);
      case StatementKind::kSet:
        put(one, one.names, expressions_.value(*one.value));
        return Flow::kOn;
      case StatementKind::kSetField: {
        Value fresh = expressions_.value(*one.value);
        expressions_.at(one.offset, [&] {
          variables_.put_field(one.names[0], one.names[1], std::move(fresh));
        });
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
    expressions_.at(offset, [&] { allowance_.keep(text.size()); });
    out_ += text;
  }

  std::vector<Value> elements_of(const Statement& loop) {
    const Seen over = expressions_.see(*loop.value);
    if (over->is_discarded())
      return {};
    return expressions_.at(loop.offset, [&] {
      allowance_.made(*over);
      return elements(*over);
    });
  }

  Flow loop(const Statement& one) {
    std::vector<Value> kept = elements_of(one);
    size_t held = 0;
    expressions_.at(one.offset, [&] {
      for (const Value& element : kept) {
        held += weight(element);
      }
      allowance_.keep(held);
    });
    variables_.enter();
    if (one.condition != nullptr) {
      std::erase_if(kept, [&](const Value& element) {
        put(one, one.names, element);
        return !truthy(*expressions_.see(*one.condition));
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
    expressions_.at(one.offset, [&] { variables_.put(names, given); });
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

  const Template& template_;
  Allowance allowance_;
  Variables variables_;
  Evaluator expressions_;
  std::string out_;
};

}  // namespace

std::string render(const Template& made, std::map<std::string, Value> variables) {
  return Renderer(made, std::move(variables)).run();
}

}  // namespace sterna::text::jinja
