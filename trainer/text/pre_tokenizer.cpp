#include "trainer/text/pre_tokenizer.h"

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/text/byte_level.h"
#include "trainer/text/regex.h"
#include "trainer/text/spec.h"
#include "trainer/text/split_by.h"
#include "trainer/text/splitters.h"
#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

using Part = std::unique_ptr<PreTokenizer>;

/// Hands what one pre-tokenizer cuts to the next.
class Sequence final : public PreTokenizer {
 public:
  explicit Sequence(std::vector<Part> parts) : parts_(std::move(parts)) {}
  void split(Piece piece, PieceSink& sink) const override { run(0, piece, sink); }

 private:
  class Next final : public PieceSink {
   public:
    Next(const Sequence& owner, size_t index, PieceSink& last)
        : owner_(owner), index_(index), last_(last) {}
    void take(Piece piece) override { owner_.run(index_, piece, last_); }

   private:
    const Sequence& owner_;
    size_t index_;
    PieceSink& last_;
  };

  void run(size_t index, Piece piece, PieceSink& sink) const {
    if (index == parts_.size()) {
      sink.take(piece);
      return;
    }
    Next next(*this, index + 1, sink);
    parts_[index]->split(piece, next);
  }

  std::vector<Part> parts_;
};

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

class RegexSplit final : public PreTokenizer {
 public:
  RegexSplit(const std::string& pattern, SplitBehavior behavior, bool invert)
      : regex_(pattern), behavior_(behavior), invert_(invert) {}

  void split(Piece piece, PieceSink& sink) const override {
    split_by(
        piece,
        [this](std::string_view text, const Found& found) { regex_.for_each(text, found); },
        behavior_,
        invert_,
        sink);
  }

 private:
  Regex regex_;
  SplitBehavior behavior_;
  bool invert_;
};

/// GPT-2's: an optional leading space, the GPT-2 splitter, and bytes spelled as characters unless
/// the model takes raw bytes.
class ByteLevel final : public PreTokenizer {
 public:
  ByteLevel(bool prefix_space, bool use_regex, bool raw)
      : prefix_space_(prefix_space),
        raw_(raw),
        splitter_(use_regex ? make_known_splitter(kGpt2Pattern) : nullptr) {}

  void split(Piece piece, PieceSink& sink) const override {
    std::string spaced;
    if (prefix_space_ && !piece.text.starts_with(' ')) {
      spaced = " " + std::string(piece.text);
      piece.text = spaced;
    }
    Spell spell(sink, raw_);
    if (splitter_ != nullptr) {
      splitter_->split(piece, raw_ ? sink : spell);
    } else {
      spell.take(piece);
    }
  }

 private:
  class Spell final : public PieceSink {
   public:
    Spell(PieceSink& next, bool raw) : next_(next), raw_(raw) {}
    void take(Piece piece) override {
      if (raw_) {
        next_.take(piece);
        return;
      }
      const std::string spelled = to_byte_level(piece.text);
      next_.take({spelled, piece.start});
    }

   private:
    PieceSink& next_;
    bool raw_;
  };

  bool prefix_space_;
  bool raw_;
  std::unique_ptr<PreTokenizer> splitter_;
};

/// SentencePiece's: spaces become U+2581, one is put in front, and words begin with theirs.
class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string marker, const std::string& scheme, bool split)
      : marker_(std::move(marker)), scheme_(scheme), split_(split) {
    if (scheme != "always" && scheme != "never" && scheme != "first") {
      refuse("prepend scheme", scheme);
    }
  }

  void split(Piece piece, PieceSink& sink) const override {
    std::string marked;
    for (const char c : piece.text) {
      if (c == ' ') {
        marked += marker_;
      } else {
        marked += c;
      }
    }
    const bool wanted = scheme_ == "always" || (scheme_ == "first" && piece.start);
    if (wanted && !marked.starts_with(marker_)) {
      marked.insert(0, marker_);
    }
    const Piece whole{marked, piece.start};
    if (!split_) {
      sink.take(whole);
      return;
    }
    split_by(
        whole,
        [this](std::string_view text, const Found& found) {
          for (size_t at = text.find(marker_); at != text.npos; at = text.find(marker_, at + 1)) {
            found(at, at + marker_.size());
          }
        },
        SplitBehavior::kMergedWithNext,
        /*invert=*/false,
        sink);
  }

 private:
  std::string marker_;
  std::string scheme_;
  bool split_;
};

Part make_split(const nlohmann::json& spec) {
  const PatternSpec pattern = pattern_of(spec.at("pattern"));
  const SplitBehavior behavior = parse_behavior(value_or<std::string>(spec, "behavior", ""));
  const bool invert = value_or(spec, "invert", false);
  // Of these patterns every character matches, so Isolated is all they can mean.
  if (pattern.regex && behavior == SplitBehavior::kIsolated) {
    if (Part known = make_known_splitter(pattern.text)) {
      return known;
    }
  }
  const std::string expression = pattern.regex ? pattern.text : quote_regex(pattern.text);
  return std::make_unique<RegexSplit>(expression, behavior, invert);
}

Part make_metaspace(const nlohmann::json& spec) {
  std::string scheme = value_or<std::string>(spec, "prepend_scheme", "always");
  if (!spec.contains("prepend_scheme") && !value_or(spec, "add_prefix_space", true)) {
    scheme = "never";
  }
  const std::string marker = character_of(spec, "replacement", "\u2581");
  return std::make_unique<Metaspace>(marker, scheme, value_or(spec, "split", true));
}

Part make_char_split(const std::string& type, const nlohmann::json& spec) {
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
  if (type == "CharDelimiterSplit") {
    return std::make_unique<RegexSplit>(
        quote_regex(character_of(spec, "delimiter", "")), SplitBehavior::kRemoved, false);
  }
  refuse("pre-tokenizer", type);
}

PreTokenizerChain make_one(const nlohmann::json& spec, bool raw_bytes) {
  const std::string type = type_of(spec, "a pre-tokenizer");
  if (type == "ByteLevel") {
    return {
        std::make_unique<ByteLevel>(
            value_or(spec, "add_prefix_space", true), value_or(spec, "use_regex", true), raw_bytes),
        raw_bytes ? Alphabet::kBytes : Alphabet::kText};
  }
  if (type == "Split") {
    return {make_split(spec)};
  }
  if (type == "Metaspace") {
    return {make_metaspace(spec)};
  }
  if (type != "Sequence") {
    return {make_char_split(type, spec)};
  }
  const nlohmann::json& list = spec.at("pretokenizers");
  std::vector<Part> parts;
  Alphabet alphabet = Alphabet::kText;
  for (size_t i = 0; i < list.size(); ++i) {
    PreTokenizerChain part = make_one(list[i], raw_bytes && i + 1 == list.size());
    parts.push_back(std::move(part.first));
    alphabet = part.alphabet;
  }
  return {std::make_unique<Sequence>(std::move(parts)), alphabet};
}

}  // namespace

PreTokenizerChain make_pre_tokenizer(const nlohmann::json& spec, bool raw_bytes) {
  return spec.is_null() ? PreTokenizerChain{} : make_one(spec, raw_bytes);
}

}  // namespace sterna::text
