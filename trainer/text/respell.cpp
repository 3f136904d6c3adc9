#include "trainer/text/respell.h"

#include <string>
#include <utility>

#include "trainer/text/byte_level.h"
#include "trainer/text/spec.h"
#include "trainer/text/split_by.h"
#include "trainer/text/splitters.h"

namespace sterna::text {
namespace {

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

}  // namespace

std::unique_ptr<PreTokenizer> make_byte_level(const nlohmann::json& spec, bool raw) {
  return std::make_unique<ByteLevel>(
      value_or(spec, "add_prefix_space", true), value_or(spec, "use_regex", true), raw);
}

std::unique_ptr<PreTokenizer> make_metaspace(const nlohmann::json& spec) {
  std::string scheme = value_or<std::string>(spec, "prepend_scheme", "always");
  if (!spec.contains("prepend_scheme") && !value_or(spec, "add_prefix_space", true)) {
    scheme = "never";
  }
  const std::string marker = character_of(spec, "replacement", "\u2581");
  return std::make_unique<Metaspace>(marker, scheme, value_or(spec, "split", true));
}

}  // namespace sterna::text
