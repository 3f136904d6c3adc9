#include "trainer/text/pre_tokenizer.h"

#include <string>
#include <utility>
#include <vector>

#include "trainer/text/char_split.h"
#include "trainer/text/regex.h"
#include "trainer/text/respell.h"
#include "trainer/text/spec.h"
#include "trainer/text/split_by.h"
#include "trainer/text/splitters.h"

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

PreTokenizerChain make_one(const nlohmann::json& spec, bool raw_bytes) {
  const std::string type = type_of(spec, "a pre-tokenizer");
  if (type == "ByteLevel") {
    return {make_byte_level(spec, raw_bytes), raw_bytes ? Alphabet::kBytes : Alphabet::kText};
  }
  if (type == "Split") {
    return {make_split(spec)};
  }
  if (type == "Metaspace") {
    return {make_metaspace(spec)};
  }
  if (type == "CharDelimiterSplit") {
    return {std::make_unique<RegexSplit>(
        quote_regex(character_of(spec, "delimiter", "")), SplitBehavior::kRemoved, false)};
  }
  if (type != "Sequence") {
    Part by_character = make_char_split(type, spec);
    if (by_character == nullptr) {
      refuse("pre-tokenizer", type);
    }
    return {std::move(by_character)};
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
