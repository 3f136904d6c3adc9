#include "trainer/text/utf8.h"

#include <cstdint>
#include <cstring>

namespace sterna::text {
namespace {

struct Lead {
  int tail;     ///< continuation bytes that must follow; -1 for no lead byte
  uint8_t low;  ///< range of the first of them (Unicode table 3-7)
  uint8_t high;
  char32_t bits;
};

Lead lead_of(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) {
    return {1, 0x80, 0xBF, byte & 0x1Fu};
  }
  if (byte >= 0xE0 && byte <= 0xEF) {
    return {2,
            static_cast<uint8_t>(byte == 0xE0 ? 0xA0 : 0x80),
            static_cast<uint8_t>(byte == 0xED ? 0x9F : 0xBF),
            byte & 0x0Fu};
  }
  if (byte >= 0xF0 && byte <= 0xF4) {
    return {3,
            static_cast<uint8_t>(byte == 0xF0 ? 0x90 : 0x80),
            static_cast<uint8_t>(byte == 0xF4 ? 0x8F : 0xBF),
            byte & 0x07u};
  }
  return {-1, 0, 0, 0};
}

// False where the bytes at `at` are malformed; `at` moves behind the character or the bad part.
bool step(std::string_view text, size_t& at, char32_t& code_point) {
  const auto first = static_cast<uint8_t>(text[at++]);
  if (first < 0x80) {
    code_point = first;
    return true;
  }
  const Lead lead = lead_of(first);
  code_point = lead.bits;
  for (int i = 0; i < lead.tail; ++i) {
    const auto byte = at < text.size() ? static_cast<uint8_t>(text[at]) : uint8_t{0};
    if (byte < (i == 0 ? lead.low : 0x80) || byte > (i == 0 ? lead.high : 0xBF)) {
      return false;
    }
    code_point = code_point << 6 | (byte & 0x3Fu);
    ++at;
  }
  return lead.tail > 0;
}

}  // namespace

char32_t next_code_point(std::string_view text, size_t& at) {
  char32_t code_point = 0;
  return step(text, at, code_point) ? code_point : kReplacement;
}

void append_utf8(std::string& out, char32_t c) {
  const auto tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80 | (c >> shift & 0x3F)));
  };
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | c >> 6));
    tail(0);
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | c >> 12));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | c >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_ascii(std::string_view text) {
  size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + at, 8);
    if ((word & 0x8080808080808080u) != 0) {
      return false;
    }
  }
  for (; at < text.size(); ++at) {
    if (static_cast<uint8_t>(text[at]) >= 0x80) {
      return false;
    }
  }
  return true;
}

bool is_utf8(std::string_view text) {
  if (is_ascii(text)) {
    return true;
  }
  char32_t unused = 0;
  for (size_t at = 0; at < text.size();) {
    if (!step(text, at, unused)) {
      return false;
    }
  }
  return true;
}

std::string replace_invalid(std::string_view text) {
  if (is_utf8(text)) {
    return std::string(text);
  }
  std::string out;
  out.reserve(text.size() + 16);
  for (size_t at = 0; at < text.size();) {
    append_utf8(out, next_code_point(text, at));
  }
  return out;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  if (from.empty()) {
    for (size_t at = 0; at < text.size();) {
      const size_t begin = at;
      next_code_point(text, at);
      out.append(to).append(text, begin, at - begin);
    }
    return out.append(to);
  }
  size_t done = 0;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  return out.append(text, done);
}

}  // namespace sterna::text
