// The splitters of byte-level BPE, by hand: a regular expression engine costs more than all the
// merging behind it. Each follows its pattern's alternatives in order; the tests compare them with
// PCRE2 on random text.
#include "trainer/text/splitters.h"

#include <array>

#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::text {

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
const char* const kLlama3Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
const char* const kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

namespace {

const std::array<CharClass, 128>& ascii_classes() {
  static const auto kTable = [] {
    std::array<CharClass, 128> table{};
    for (char32_t i = 0; i < table.size(); ++i) {
      table[i] = char_class(i);
    }
    return table;
  }();
  return kTable;
}

/// Walks a text by character classes.
class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  size_t size() const { return text_.size(); }
  char at(size_t i) const { return i < text_.size() ? text_[i] : '\0'; }

  CharClass class_at(size_t i) const {
    const auto byte = static_cast<unsigned char>(text_[i]);
    return byte < 0x80 ? ascii_[byte] : char_class(next_code_point(text_, i));
  }
  bool is(size_t i, CharClass wanted) const { return i < text_.size() && class_at(i) == wanted; }

  size_t after(size_t i) const { return i + utf8_length(text_[i]); }

  /// End of the run of `wanted` that begins at `i`.
  size_t run(size_t i, CharClass wanted) const {
    while (i < text_.size() && class_at(i) == wanted) {
      i = after(i);
    }
    return i;
  }

  /// End of the white space at `i` by `\s+(?!\S)|\s+`: the last space of several is left to the
  /// word behind it.
  size_t space(size_t i) const {
    size_t last = i;
    size_t end = i;
    while (is(end, CharClass::kSpace)) {
      last = end;
      end = after(end);
    }
    return end == text_.size() || last == i ? end : last;
  }

 private:
  std::string_view text_;
  const std::array<CharClass, 128>& ascii_ = ascii_classes();
};

/// Bytes of the contraction 's 't 're 've 'm 'll 'd at `i`, 0 where there is none.
size_t contraction(const Scanner& text, size_t i, bool any_case) {
  const auto letter = [&](size_t at) {
    const char c = text.at(at);
    return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  };
  const char a = letter(i + 1);
  if (a == 's' || a == 't' || a == 'm' || a == 'd') {
    return 2;
  }
  // U+017F is an s to a case-insensitive match.
  if (any_case && text.at(i + 1) == '\xC5' && text.at(i + 2) == '\xBF') {
    return 3;
  }
  const char b = letter(i + 2);
  return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
}

size_t gpt2_end(const Scanner& text, size_t begin) {
  if (text.at(begin) == '\'') {
    if (const size_t length = contraction(text, begin, false); length > 0) {
      return begin + length;
    }
  }
  const bool space = text.at(begin) == ' ';
  const size_t word = space ? begin + 1 : begin;
  if (word < text.size()) {
    const CharClass kind = text.class_at(word);
    if (kind != CharClass::kSpace) {
      return text.run(word, kind);
    }
  }
  return text.space(begin);
}

bool is_newline(char c) {
  return c == '\r' || c == '\n';
}

// `\s*[\r\n]+`: through the last line break of a run of white space; 0 where it has none.
size_t through_newlines(const Scanner& text, size_t begin) {
  size_t end = 0;
  for (size_t i = begin; text.is(i, CharClass::kSpace); i = text.after(i)) {
    if (is_newline(text.at(i))) {
      end = i + 1;
    }
  }
  return end;
}

size_t numbers_end(const Scanner& text, size_t begin, int most) {
  size_t end = begin;
  for (int i = 0; i < most && text.is(end, CharClass::kNumber); ++i) {
    end = text.after(end);
  }
  return end;
}

// Llama-3 and Qwen2 differ in how many digits stay together.
size_t llama3_end(const Scanner& text, size_t begin, int digits) {
  if (text.at(begin) == '\'') {
    if (const size_t length = contraction(text, begin, true); length > 0) {
      return begin + length;
    }
  }
  const CharClass kind = text.class_at(begin);
  if (kind == CharClass::kLetter) {
    return text.run(begin, kind);
  }
  if (kind == CharClass::kNumber) {
    return numbers_end(text, begin, digits);
  }
  const size_t next = text.after(begin);
  if (!is_newline(text.at(begin)) && text.is(next, CharClass::kLetter)) {
    return text.run(next, CharClass::kLetter);
  }
  const size_t symbols = text.at(begin) == ' ' ? begin + 1 : begin;
  if (text.is(symbols, CharClass::kOther)) {
    size_t end = text.run(symbols, CharClass::kOther);
    while (end < text.size() && is_newline(text.at(end))) {
      ++end;
    }
    return end;
  }
  const size_t lines = through_newlines(text, begin);
  return lines > 0 ? lines : text.space(begin);
}

/// @tparam End  end of the part that begins at an offset
template <class End>
class KnownSplitter final : public PreTokenizer {
 public:
  explicit KnownSplitter(End end) : end_(end) {}

  void split(Piece piece, PieceSink& sink) const override {
    const Scanner text(piece.text);
    for (size_t begin = 0; begin < piece.text.size();) {
      const size_t end = end_(text, begin);
      sink.take({piece.text.substr(begin, end - begin), piece.start && begin == 0});
      begin = end;
    }
  }

 private:
  End end_;
};

template <class End>
std::unique_ptr<PreTokenizer> known(End end) {
  return std::make_unique<KnownSplitter<End>>(end);
}

}  // namespace

std::unique_ptr<PreTokenizer> make_known_splitter(const std::string& pattern) {
  if (pattern == kGpt2Pattern) {
    return known([](const Scanner& text, size_t begin) { return gpt2_end(text, begin); });
  }
  if (pattern == kLlama3Pattern) {
    return known([](const Scanner& text, size_t begin) { return llama3_end(text, begin, 3); });
  }
  if (pattern == kQwen2Pattern) {
    return known([](const Scanner& text, size_t begin) { return llama3_end(text, begin, 1); });
  }
  return nullptr;
}

}  // namespace sterna::text
