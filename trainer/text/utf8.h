#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sterna::text {

inline constexpr char32_t kReplacement = 0xFFFD;

/// The code point that begins at `at`, and moves `at` behind it. Malformed bytes give U+FFFD, one
/// for each maximal malformed part (Unicode 3.9, table 3-8; what Rust's from_utf8_lossy does).
char32_t next_code_point(std::string_view text, size_t& at);

void append_utf8(std::string& out, char32_t code_point);

/// True where every byte is ASCII.
bool is_ascii(std::string_view text);

bool is_utf8(std::string_view text);

/// `text` with every malformed part replaced by U+FFFD.
std::string replace_invalid(std::string_view text);

/// `text` with `to` for every `from`; an empty `from` stands around every character.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

/// Bytes of the character that the valid lead byte `lead` begins.
inline size_t utf8_length(char lead) {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

}  // namespace sterna::text
