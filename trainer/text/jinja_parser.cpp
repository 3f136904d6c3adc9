#include "trainer/text/jinja_parser.h"

#include <string_view>

#include "trainer/text/jinja_expressions.h"
#include "trainer/text/utf8.h"

namespace sterna::text::jinja {
namespace {

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Block whole() {
    Block block = statements({});
    if (now().kind != TokenKind::kEnd) {
      refuse_statement();
    }
    return block;
  }

 private:
  /// True where a block tag with one of `words` comes next.
  bool ends_with(const std::vector<std::string_view>& words) const {
    if (now().kind != TokenKind::kBlockOpen) {
      return false;
    }
    for (const std::string_view word : words) {
      if (ahead(1).kind == TokenKind::kName && ahead(1).text == word) {
        return true;
      }
    }
    return false;
  }

  Block statements(const std::vector<std::string_view>& ends) {
    Block block;
    while (now().kind != TokenKind::kEnd && !ends_with(ends)) {
      block.push_back(statement());
    }
    return block;
  }

  [[noreturn]] void refuse_statement() const {
    fail(source(), ahead(1).offset, "the statement '" + ahead(1).text + "' is not supported here");
  }

  Statement statement() {
    Statement made;
    made.offset = now().offset;
    if (now().kind == TokenKind::kText) {
      made.text = take().text;
      return made;
    }
    if (now().kind == TokenKind::kPrintOpen) {
      take();
      made.kind = StatementKind::kPrint;
      made.value = expression();
      need(TokenKind::kPrintClose, "'}}'");
      return made;
    }
    const Deeper deeper(*this);
    const std::string what = ahead(1).text;
    if (what == "if") {
      take();
      return if_statement();
    }
    if (what == "for") {
      return for_statement();
    }
    if (what == "set") {
      return set_statement();
    }
    if (what == "break" || what == "continue") {
      take();
      take();
      made.kind = what == "break" ? StatementKind::kBreak : StatementKind::kContinue;
      close();
      return made;
    }
    if (what == "generation" || what == "endgeneration") {  // marks what a trainer masks
      take();
      take();
      close();
      return made;
    }
    refuse_statement();
  }

  void close() { need(TokenKind::kBlockClose, "'%}'"); }

  void end_tag(const char* word) {
    if (!ends_with({word})) {
      refuse(std::string("expected {% ") + word + " %}");
    }
    take();
    take();
    close();
  }

  // The token `if` or `elif` is next.
  Statement if_statement() {
    Statement made;
    made.kind = StatementKind::kIf;
    made.offset = take().offset;
    made.value = expression();
    close();
    made.body = statements({"elif", "else", "endif"});
    if (ends_with({"elif"})) {
      const Deeper deeper(*this);
      take();
      made.otherwise.push_back(if_statement());
      return made;  // the innermost one took {% endif %}
    }
    if (ends_with({"else"})) {
      end_tag("else");
      made.otherwise = statements({"endif"});
    }
    end_tag("endif");
    return made;
  }

  Statement for_statement() {
    Statement made;
    made.kind = StatementKind::kFor;
    made.offset = take().offset;
    take();
    do {
      made.names.push_back(name());
    } while (skip_op(","));
    if (!skip_word("in")) {
      refuse("expected 'in'" + found());
    }
    made.value = disjunction();
    if (skip_word("if")) {
      made.condition = expression();
    }
    if (word("recursive")) {
      refuse("a recursive loop is not supported");
    }
    close();
    made.body = statements({"else", "endfor"});
    if (ends_with({"else"})) {
      end_tag("else");
      made.otherwise = statements({"endfor"});
    }
    end_tag("endfor");
    return made;
  }

  Statement set_statement() {
    Statement made;
    made.offset = take().offset;
    take();
    made.kind = StatementKind::kSet;
    made.names.push_back(name());
    if (skip_op(".")) {
      made.kind = StatementKind::kSetField;
      made.names.push_back(name());
    } else {
      while (skip_op(",")) {
        made.names.push_back(name());
      }
    }
    if (skip_op("=")) {
      made.value = tuple();
      close();
      return made;
    }
    if (made.kind != StatementKind::kSet || made.names.size() != 1) {
      refuse("expected '='" + found());
    }
    made.kind = StatementKind::kSetBlock;
    close();
    made.body = statements({"endset"});
    end_tag("endset");
    return made;
  }
};

}  // namespace

Template parse(const std::string& source) {
  if (!is_utf8(source)) {
    throw TemplateError("chat template: not UTF-8 text; write or fetch the file again");
  }
  Template made{source, {}};
  made.body = Parser(made.source).whole();
  return made;
}

}  // namespace sterna::text::jinja
