#include "trainer/text/char_split.h"

#include "trainer/text/spec.h"
#include "trainer/text/split_by.h"
#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

/// Cuts at every character of which `is` holds.
class CharSplit final : public PreTokenizer {
 public:
  CharSplit(bool (*is)(char32_t), SplitBehavior behavior) : is_(is), behavior_(behavior) {}

  void split(Piece piece, PieceSink& sink) const override {
    if (behavior_ == SplitBehavior::kIsolated) {
      isolate(piece, sink);
      return;
    }
    split_by(
        piece,
        [this](std::string_view text, const Found& found) {
          for (size_t at = 0; at < text.size();) {
            const size_t begin = at;
            if (is_(next_code_point(text, at))) {
              found(begin, at);
            }
          }
        },
        behavior_,
        /*invert=*/false,
        sink);
  }

 private:
  // Without a list of the stretches: this runs over all text of the digit-splitting families.
  void isolate(Piece piece, PieceSink& sink) const {
    size_t done = 0;
    const auto pass = [&](size_t end) {
      if (end > done) {
        sink.take({piece.text.substr(done, end - done), piece.start && done == 0});
        done = end;
      }
    };
    for (size_t at = 0; at < piece.text.size();) {
      const size_t begin = at;
      if (is_(next_code_point(piece.text, at))) {
        pass(begin);
        pass(at);
      }
    }
    pass(piece.text.size());
  }

  bool (*is_)(char32_t);
  SplitBehavior behavior_;
};

/// BERT's: white space goes, punctuation stands alone.
class BertSplit final : public PreTokenizer {
 public:
  void split(Piece piece, PieceSink& sink) const override {
    const std::string_view text = piece.text;
    size_t done = 0;
    const auto pass = [&](size_t end) {
      if (end > done)
        sink.take({text.substr(done, end - done), piece.start && done == 0});
      done = end;
    };
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const char32_t c = next_code_point(text, at);
      if (is_space(c)) {
        pass(begin);
        done = at;
      } else if (is_punctuation(c)) {
        pass(begin);
        pass(at);
      }
    }
    pass(text.size());
  }
};

/// \w+|[^\w\s]+ with Rust's classes: runs of word characters and of what is neither word nor space.
class WordSplit final : public PreTokenizer {
 public:
  void split(Piece piece, PieceSink& sink) const override {
    const std::string_view text = piece.text;
    enum class Kind { kNone, kWord, kOther } open = Kind::kNone;
    size_t done = 0;
    const auto change = [&](Kind kind, size_t at) {
      if (open != Kind::kNone && at > done)
        sink.take({text.substr(done, at - done), piece.start && done == 0});
      done = at;
      open = kind;
    };
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      const char32_t c = next_code_point(text, at);
      const Kind kind = is_word(c) ? Kind::kWord : is_space(c) ? Kind::kNone : Kind::kOther;
      if (kind != open)
        change(kind, begin);
    }
    change(Kind::kNone, text.size());
  }
};

}  // namespace

std::unique_ptr<PreTokenizer> make_char_split(const std::string& type, const nlohmann::json& spec) {
  if (type == "Digits") {
    const bool single = value_or(spec, "individual_digits", false);
    return std::make_unique<CharSplit>(
        &is_numeric, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  }
  if (type == "Punctuation") {
    const auto behavior = value_or<std::string>(spec, "behavior", "Isolated");
    return std::make_unique<CharSplit>(&is_punctuation, parse_behavior(behavior));
  }
  if (type == "WhitespaceSplit") {
    return std::make_unique<CharSplit>(&is_space, SplitBehavior::kRemoved);
  }
  if (type == "Whitespace") {
    return std::make_unique<WordSplit>();
  }
  if (type == "BertPreTokenizer") {
    return std::make_unique<BertSplit>();
  }
  return nullptr;
}

}  // namespace sterna::text
