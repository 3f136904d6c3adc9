#include "trainer/text/normalizer.h"

#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "trainer/text/regex.h"
#include "trainer/text/spec.h"
#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

using Rewrite = std::function<std::string(std::string)>;

class Function final : public Normalizer {
 public:
  explicit Function(Rewrite rewrite) : rewrite_(std::move(rewrite)) {}
  std::string apply(std::string text) const override { return rewrite_(std::move(text)); }

 private:
  Rewrite rewrite_;
};

std::string strip(std::string text, bool left, bool right) {
  size_t begin = 0;
  size_t end = 0;
  bool seen = !left;
  for (size_t at = 0; at < text.size();) {
    const size_t from = at;
    if (is_space(next_code_point(text, at))) {
      continue;
    }
    begin = seen ? begin : from;
    seen = true;
    end = at;
  }
  end = right ? end : text.size();
  return seen && end > begin ? text.substr(begin, end - begin) : std::string();
}

std::string without(bool (*is)(char32_t), const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (!is(c)) {
      append_utf8(out, c);
    }
  }
  return out;
}

/// BERT's basic cleaning. Text is taken in ASCII and other stretches by turns, as no step looks
/// from one into the other.
class Bert {
 public:
  explicit Bert(const nlohmann::json& spec)
      : clean_(value_or(spec, "clean_text", true)),
        ideographs_(value_or(spec, "handle_chinese_chars", true)),
        lower_(value_or(spec, "lowercase", true)),
        accents_(value_or(spec, "strip_accents", lower_)) {}

  std::string operator()(const std::string& text) const {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      for (; at < text.size() && is_single(text[at]); ++at)
        append_ascii(out, text[at]);
      const size_t middle = at;
      while (at < text.size() && !is_single(text[at]))
        ++at;
      if (at > middle)
        out += other(std::string_view(text).substr(middle, at - middle));
      if (at == begin)
        break;
    }
    return out;
  }

 private:
  static bool is_single(char byte) { return static_cast<unsigned char>(byte) < 0x80; }

  void append_ascii(std::string& out, char c) const {
    if (clean_ && (c == '\t' || c == '\n' || c == '\r'))
      c = ' ';
    if (clean_ && (c < ' ' || c == '\x7F'))
      return;
    out += lower_ && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  }

  std::string other(std::string_view text) const {
    std::string out;
    for (size_t at = 0; at < text.size();) {
      const char32_t c = next_code_point(text, at);
      if (clean_ && is_no_text(c))
        continue;
      const bool alone = ideographs_ && is_ideograph(c);
      out += alone ? " " : "";
      append_utf8(out, clean_ && is_space(c) ? U' ' : c);
      out += alone ? " " : "";
    }
    if (accents_)
      out = without(&is_nonspacing, normalize(out, Form::kNfd));
    return lower_ ? lowercase(out) : out;
  }

  bool clean_;
  bool ideographs_;
  bool lower_;
  bool accents_;
};

Rewrite make_replace(const nlohmann::json& spec) {
  const PatternSpec pattern = pattern_of(spec.at("pattern"));
  const auto to = value_or<std::string>(spec, "content", "");
  if (!pattern.regex) {
    if (pattern.text.empty()) {
      refuse("pattern", "(empty)");
    }
    return
        [from = pattern.text, to](const std::string& text) { return replace_all(text, from, to); };
  }
  return [regex = std::make_shared<Regex>(pattern.text), to](const std::string& text) {
    std::string out;
    size_t done = 0;
    regex->for_each(text, [&](size_t begin, size_t end) {
      out.append(text, done, begin - done).append(to);
      done = end;
    });
    return out.append(text, done);
  };
}

std::optional<Form> form_of(const std::string& type) {
  return type == "NFC"    ? std::optional(Form::kNfc)
         : type == "NFD"  ? std::optional(Form::kNfd)
         : type == "NFKC" ? std::optional(Form::kNfkc)
         : type == "NFKD" ? std::optional(Form::kNfkd)
                          : std::nullopt;
}

Rewrite make_rewrite(const nlohmann::json& spec) {
  const std::string type = type_of(spec, "a normalizer");
  if (const std::optional<Form> form = form_of(type)) {
    return [form = *form](const std::string& text) { return normalize(text, form); };
  }
  if (type == "Lowercase") {
    return [](const std::string& text) { return lowercase(text); };
  }
  if (type == "StripAccents") {
    return [](const std::string& text) { return without(&is_mark, text); };
  }
  if (type == "Strip") {
    const bool left = value_or(spec, "strip_left", true);
    const bool right = value_or(spec, "strip_right", true);
    return [left, right](std::string text) { return strip(std::move(text), left, right); };
  }
  if (type == "Prepend") {
    return [prefix = value_or<std::string>(spec, "prepend", "")](const std::string& text) {
      return text.empty() ? text : prefix + text;
    };
  }
  if (type == "Replace") {
    return make_replace(spec);
  }
  if (type == "BertNormalizer") {
    return Bert(spec);
  }
  refuse("normalizer", type);
}

}  // namespace

std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& spec) {
  if (spec.is_null()) {
    return nullptr;
  }
  if (type_of(spec, "the normalizer") != "Sequence") {
    return std::make_unique<Function>(make_rewrite(spec));
  }
  std::vector<std::shared_ptr<Normalizer>> parts;
  for (const nlohmann::json& part : spec.at("normalizers")) {
    type_of(part, "a normalizer");  // null stands for none, but not as one of several
    parts.push_back(make_normalizer(part));
  }
  return std::make_unique<Function>([parts](std::string text) {
    for (const auto& part : parts) {
      text = part->apply(std::move(text));
    }
    return text;
  });
}

}  // namespace sterna::text
