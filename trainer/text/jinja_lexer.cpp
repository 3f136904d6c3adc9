#include "trainer/text/jinja_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "trainer/text/utf8.h"

namespace sterna::text::jinja {
namespace {

constexpr std::string_view kSpace = " \t\n\v\f\r";

// Far more than a template needs; a longer chain of operators would exhaust the stack.
constexpr size_t kMostTokensOfATag = 2000;
constexpr std::array<std::string_view, 7> kLongOperators{"==", "!=", "<=", ">=", "//", "**", "->"};

bool name_start(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0 || c == '_';
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}

class Lexer {
 public:
  explicit Lexer(const std::string& source) : source_(source), end_(source.size()) {
    if (source.ends_with('\n')) {
      --end_;  // keep_trailing_newline is off
    }
  }

  std::vector<Token> run() {
    while (at_ < end_) {
      const size_t open = next_tag();
      add_text(open);
      if (open < end_) {
        tag(open);
      }
    }
    add(TokenKind::kEnd, "", end_);
    return std::move(tokens_);
  }

 private:
  char peek(size_t i) const { return i < end_ ? source_[i] : '\0'; }

  void add(TokenKind kind, std::string text, size_t offset) {
    tokens_.push_back({kind, std::move(text), offset});
  }

  size_t next_tag() const {
    size_t i = at_;
    for (; i + 1 < end_; ++i) {
      if (source_[i] == '{' &&
          (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) {
        return i;
      }
    }
    return end_;
  }

  // White space in front of a tag goes by its "-", or by lstrip_blocks where it begins the line.
  void add_text(size_t open) {
    std::string text = source_.substr(at_, open - at_);
    if (open < end_) {
      const char sign = peek(open + 2);
      if (sign == '-') {
        text.resize(text.find_last_not_of(kSpace) + 1);
      } else if (sign != '+' && peek(open + 1) != '{') {
        const size_t line = text.rfind('\n') + 1;  // npos + 1 is 0
        if ((line > 0 || line_start_) && text.find_first_not_of(kSpace, line) == text.npos) {
          text.resize(line);
        }
      }
    }
    if (!text.empty()) {
      add(TokenKind::kText, std::move(text), at_);
    }
    at_ = open;
  }

  void tag(size_t open) {
    const char kind = source_[open + 1];
    at_ = open + 2;
    if (peek(at_) == '-' || peek(at_) == '+') {
      ++at_;
    }
    if (kind == '#') {
      const size_t close = source_.find("#}", at_);
      if (close == source_.npos) {
        fail(source_, open, "the comment is not closed");
      }
      at_ = close;
      const bool strip = close > open + 2 && source_[close - 1] == '-';
      leave(strip ? '-' : ' ', /*trim=*/true);
      return;
    }
    const bool block = kind == '%';
    add(block ? TokenKind::kBlockOpen : TokenKind::kPrintOpen, "", open);
    inside(block ? '%' : '}', open);
    add(block ? TokenKind::kBlockClose : TokenKind::kPrintClose, "", at_);
    char sign = peek(at_);
    if (sign == '-' || sign == '+') {
      ++at_;
    } else {
      sign = ' ';
    }
    leave(sign, block);
  }

  // Steps over the closing mark and the white space that it swallows.
  void leave(char sign, bool trim) {
    at_ += 2;
    const size_t behind = at_;
    if (sign == '-') {
      at_ = std::min(source_.find_first_not_of(kSpace, at_), end_);
    } else if (sign != '+' && trim && peek(at_) == '\n') {
      ++at_;
    }
    line_start_ = at_ > behind && source_[at_ - 1] == '\n';
  }

  bool closes(char mark) const {
    const size_t i = at_ + (peek(at_) == '-' || (peek(at_) == '+' && mark == '%') ? 1 : 0);
    return depth_ == 0 && peek(i) == mark && peek(i + 1) == '}';
  }

  void inside(char mark, size_t open) {
    depth_ = 0;
    for (const size_t first = tokens_.size();;) {
      if (tokens_.size() - first > kMostTokensOfATag) {
        fail(source_, open, "the tag is too long");
      }
      at_ = std::min(source_.find_first_not_of(kSpace, at_), end_);
      if (at_ >= end_) {
        fail(source_, open, "the tag is not closed");
      }
      if (closes(mark)) {
        return;
      }
      one();
    }
  }

  void one() {
    const char c = source_[at_];
    const size_t begin = at_;
    if (name_start(c)) {
      while (name_start(peek(at_)) || digit(peek(at_))) {
        ++at_;
      }
      add(TokenKind::kName, source_.substr(begin, at_ - begin), begin);
    } else if (digit(c)) {
      number();
    } else if (c == '\'' || c == '"') {
      string(c);
    } else {
      symbol();
    }
  }

  void number() {
    const size_t begin = at_;
    bool real = false;
    while (digit(peek(at_)) || (peek(at_) == '.' && digit(peek(at_ + 1)))) {
      real = real || source_[at_] == '.';
      ++at_;
    }
    add(real ? TokenKind::kFloat : TokenKind::kInteger, source_.substr(begin, at_ - begin), begin);
  }

  void string(char quote) {
    const size_t begin = at_++;
    std::string text;
    while (peek(at_) != quote) {
      if (at_ >= end_) {
        fail(source_, begin, "the string is not closed");
      }
      if (source_[at_] == '\\') {
        escape(text);
      } else {
        text += source_[at_++];
      }
    }
    ++at_;
    add(TokenKind::kString, std::move(text), begin);
  }

  void escape(std::string& text) {
    const size_t begin = at_++;
    const char c = peek(at_++);
    constexpr std::string_view kNames = "ntr0\\'\"/bfav";
    constexpr std::string_view kValues("\n\t\r\0\\'\"/\b\f\a\v", 12);
    if (c == 'u' || c == 'x') {
      const size_t digits = c == 'u' ? 4 : 2;
      const std::string hex = source_.substr(at_, digits);
      if (hex.size() != digits || hex.find_first_not_of("0123456789abcdefABCDEF") != hex.npos) {
        fail(source_, begin, "a malformed escape in a string");
      }
      append_utf8(text, static_cast<char32_t>(std::stoul(hex, nullptr, 16)));
      at_ += digits;
      return;
    }
    const size_t found = kNames.find(c);
    if (found == kNames.npos || c == '/') {
      text += '\\';
      text += c;  // Python keeps an escape that it does not know
    } else {
      text += kValues[found];
    }
  }

  void symbol() {
    const std::string_view rest = std::string_view(source_).substr(at_, 2);
    size_t length = 1;
    for (const std::string_view known : kLongOperators) {
      length = rest == known ? 2 : length;
    }
    const std::string text = source_.substr(at_, length);
    if (length == 1 && std::string_view("+-*/%~<>=.,:|()[]{}").find(text[0]) == std::string::npos) {
      fail(source_, at_, "unexpected character '" + text + "'");
    }
    const bool opens = text == "(" || text == "[" || text == "{";
    const bool shuts = text == ")" || text == "]" || text == "}";
    depth_ += opens ? 1 : shuts ? -1 : 0;
    add(TokenKind::kOperator, text, at_);
    at_ += length;
  }

  const std::string& source_;
  size_t end_;
  size_t at_ = 0;
  int depth_ = 0;           ///< open brackets inside a tag
  bool line_start_ = true;  ///< only swallowed white space lies between here and the line's start
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(const std::string& source) {
  return Lexer(source).run();
}

void fail(const std::string& source, size_t offset, const std::string& why) {
  const std::string_view before = std::string_view(source).substr(0, offset);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t column = before.size() - (before.rfind('\n') + 1) + 1;
  throw TemplateError("chat template " + std::to_string(line) + ":" + std::to_string(column) +
                      ": " + why);
}

}  // namespace sterna::text::jinja
