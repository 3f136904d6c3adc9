#include "trainer/text/decoder.h"

#include <functional>
#include <optional>
#include <utility>

#include "trainer/text/byte_level.h"
#include "trainer/text/regex.h"
#include "trainer/text/spec.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

using Pieces = std::vector<std::string>;
using Step = std::function<Pieces(Pieces)>;

class Function final : public Decoder {
 public:
  explicit Function(Step step) : step_(std::move(step)) {}
  Pieces apply(Pieces pieces) const override { return step_(std::move(pieces)); }

 private:
  Step step_;
};

Pieces byte_level(const Pieces& pieces) {
  std::string bytes;
  for (const std::string& piece : pieces) {
    if (!append_from_byte_level(bytes, piece)) {
      bytes += piece;  // an added token
    }
  }
  return {replace_invalid(bytes)};
}

std::optional<char> byte_of(const std::string& piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || !piece.ends_with(">")) {
    return std::nullopt;
  }
  int value = 0;
  for (const char c : piece.substr(3, 2)) {
    const size_t digit = std::string_view("0123456789abcdef").find(static_cast<char>(c | 0x20));
    if (digit == std::string_view::npos) {
      return std::nullopt;
    }
    value = value * 16 + static_cast<int>(digit);
  }
  return static_cast<char>(value);
}

// A run of bytes that is no UTF-8 as a whole gives one U+FFFD for each byte.
Pieces byte_fallback(const Pieces& pieces) {
  Pieces out;
  std::string run;
  const auto flush = [&] {
    if (run.empty()) {
      return;
    }
    if (is_utf8(run)) {
      out.push_back(run);
    } else {
      out.insert(out.end(), run.size(), "\uFFFD");
    }
    run.clear();
  };
  for (const std::string& piece : pieces) {
    if (const std::optional<char> byte = byte_of(piece)) {
      run += *byte;
    } else {
      flush();
      out.push_back(piece);
    }
  }
  flush();
  return out;
}

Pieces fuse(const Pieces& pieces) {
  std::string whole;
  for (const std::string& piece : pieces) {
    whole += piece;
  }
  return {whole};
}

Step make_strip(const nlohmann::json& spec) {
  const std::string content = character_of(spec, "content", " ");
  const auto start = value_or<int64_t>(spec, "start", 0);
  const auto stop = value_or<int64_t>(spec, "stop", 0);
  return [=](Pieces pieces) {
    for (std::string& piece : pieces) {
      for (int64_t i = 0; i < start && piece.starts_with(content); ++i) {
        piece.erase(0, content.size());
      }
      for (int64_t i = 0; i < stop && piece.ends_with(content); ++i) {
        piece.resize(piece.size() - content.size());
      }
    }
    return pieces;
  };
}

Step make_replace(const nlohmann::json& spec) {
  const PatternSpec pattern = pattern_of(spec.at("pattern"));
  const auto to = value_or<std::string>(spec, "content", "");
  const auto regex =
      std::make_shared<Regex>(pattern.regex ? pattern.text : quote_regex(pattern.text));
  return [regex, to](Pieces pieces) {
    for (std::string& piece : pieces) {
      std::string out;
      size_t done = 0;
      regex->for_each(piece, [&](size_t begin, size_t end) {
        out.append(piece, done, begin - done).append(to);
        done = end;
      });
      piece = out.append(piece, done);
    }
    return pieces;
  };
}

Step make_metaspace(const nlohmann::json& spec) {
  const std::string marker = character_of(spec, "replacement", "\u2581");
  const bool prefix = value_or(spec, "add_prefix_space", true) &&
                      value_or<std::string>(spec, "prepend_scheme", "always") != "never";
  return [marker, prefix](Pieces pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      std::string out;
      size_t done = 0;
      for (size_t at = pieces[i].find(marker); at != std::string::npos;
           at = pieces[i].find(marker, done)) {
        out.append(pieces[i], done, at - done).append(i == 0 && prefix ? "" : " ");
        done = at + marker.size();
      }
      pieces[i] = out.append(pieces[i], done);
    }
    return pieces;
  };
}

// English only, and as Hugging Face does it: within each piece and its space.
std::string without_extra_spaces(std::string text) {
  constexpr std::pair<const char*, const char*> kRules[] = {{" .", "."},
                                                            {" ?", "?"},
                                                            {" !", "!"},
                                                            {" ,", ","},
                                                            {" ' ", "'"},
                                                            {" n't", "n't"},
                                                            {" 'm", "'m"},
                                                            {" do not", " don't"},
                                                            {" 's", "'s"},
                                                            {" 've", "'ve"},
                                                            {" 're", "'re"}};
  for (const auto& [from, to] : kRules)
    text = replace_all(text, from, to);
  return text;
}

Step make_word_piece(const nlohmann::json& spec) {
  const auto prefix = value_or<std::string>(spec, "prefix", "##");
  const bool cleanup = value_or(spec, "cleanup", true);
  return [prefix, cleanup](Pieces pieces) {
    for (size_t i = 0; i < pieces.size(); ++i) {
      if (i > 0 && pieces[i].starts_with(prefix)) {
        pieces[i].erase(0, prefix.size());
      } else if (i > 0) {
        pieces[i].insert(0, " ");
      }
      if (cleanup)
        pieces[i] = without_extra_spaces(std::move(pieces[i]));
    }
    return pieces;
  };
}

Step make_bpe(const nlohmann::json& spec) {
  return [suffix = value_or<std::string>(spec, "suffix", "</w>")](Pieces pieces) {
    for (size_t i = 0; i < pieces.size(); ++i)
      pieces[i] = replace_all(pieces[i], suffix, i + 1 == pieces.size() ? "" : " ");
    return pieces;
  };
}

Step make_step(const nlohmann::json& spec) {
  const std::string type = type_of(spec, "a decoder");
  if (type == "ByteLevel") {
    return byte_level;
  }
  if (type == "ByteFallback") {
    return byte_fallback;
  }
  if (type == "Fuse") {
    return fuse;
  }
  if (type == "Strip") {
    return make_strip(spec);
  }
  if (type == "Replace") {
    return make_replace(spec);
  }
  if (type == "Metaspace") {
    return make_metaspace(spec);
  }
  if (type == "WordPiece") {
    return make_word_piece(spec);
  }
  if (type == "BPEDecoder") {
    return make_bpe(spec);
  }
  if (type != "Sequence") {
    refuse("decoder", type);
  }
  std::vector<Step> steps;
  for (const nlohmann::json& part : spec.at("decoders")) {
    steps.push_back(make_step(part));
  }
  return [steps](Pieces pieces) {
    for (const Step& step : steps) {
      pieces = step(std::move(pieces));
    }
    return pieces;
  };
}

Pieces join_with_spaces(const Pieces& pieces) {
  std::string whole;
  for (const std::string& piece : pieces) {
    whole += (whole.empty() ? "" : " ") + piece;
  }
  return {whole};
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const nlohmann::json& spec) {
  return std::make_unique<Function>(spec.is_null() ? Step(join_with_spaces) : make_step(spec));
}

}  // namespace sterna::text
