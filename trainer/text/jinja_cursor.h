#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/text/jinja_lexer.h"

namespace sterna::text::jinja {

/// The tokens of a template and the place reached in them; base of the two parsers.
class Cursor {
 public:
  static constexpr int kMaxDepth = 200;

  explicit Cursor(const std::string& source) : source_(source), tokens_(tokenize(source)) {}

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead(size_t n) const { return tokens_[std::min(at_ + n, tokens_.size() - 1)]; }
  Token take() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  [[noreturn]] void refuse(const std::string& why) const { fail(source_, now().offset, why); }

  bool is(TokenKind kind, std::string_view text) const {
    return now().kind == kind && now().text == text;
  }
  bool op(std::string_view text) const { return is(TokenKind::kOperator, text); }
  bool word(std::string_view text) const { return is(TokenKind::kName, text); }
  bool skip_op(std::string_view text) { return op(text) && (take(), true); }
  bool skip_word(std::string_view text) { return word(text) && (take(), true); }

  void need_op(std::string_view text) {
    if (!skip_op(text)) {
      refuse("expected '" + std::string(text) + "'" + found());
    }
  }
  void need(TokenKind kind, const char* what) {
    if (now().kind != kind) {
      refuse(std::string("expected ") + what + found());
    }
    take();
  }
  std::string found() const { return now().text.empty() ? "" : ", found '" + now().text + "'"; }
  std::string name() {
    if (now().kind != TokenKind::kName) {
      refuse("expected a name" + found());
    }
    return take().text;
  }

  void check(bool known, size_t offset, const char* kind, const std::string& what) const {
    if (!known) {
      fail(source_, offset, std::string("the ") + kind + " '" + what + "' is not supported");
    }
  }

  /// Keeps a hostile template from exhausting the stack.
  class Deeper {
   public:
    explicit Deeper(Cursor& cursor) : cursor_(cursor) {
      if (++cursor_.depth_ > kMaxDepth) {
        cursor_.refuse("nested too deeply");
      }
    }
    ~Deeper() { --cursor_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Cursor& cursor_;
  };

  const std::string& source() const { return source_; }

 private:
  const std::string& source_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace sterna::text::jinja
