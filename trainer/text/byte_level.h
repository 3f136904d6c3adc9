#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sterna::text {

/// GPT-2's printable alphabet of bytes: 33-126, 161-172 and 174-255 stand for themselves, the
/// other 68 for U+0100 and on.
char32_t byte_to_char(uint8_t byte);

/// `bytes` in that alphabet.
std::string to_byte_level(std::string_view bytes);

/// Appends the bytes that `piece` spells; false, and nothing appended, where a character is not of
/// the alphabet.
bool append_from_byte_level(std::string& out, std::string_view piece);

}  // namespace sterna::text
