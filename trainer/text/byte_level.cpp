#include "trainer/text/byte_level.h"

#include <array>

#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

struct Alphabet256 {
  std::array<char32_t, 256> chars{};
  std::array<int16_t, 0x144> bytes{};  // the last character is U+0143

  Alphabet256() {
    bytes.fill(-1);
    char32_t next = 0x100;
    for (int i = 0; i < 256; ++i) {
      const bool printable = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
      const auto slot = static_cast<size_t>(i);
      chars[slot] = printable ? static_cast<char32_t>(i) : next++;
      bytes[chars[slot]] = static_cast<int16_t>(i);
    }
  }
};

const Alphabet256& alphabet() {
  static const Alphabet256 kAlphabet;
  return kAlphabet;
}

}  // namespace

char32_t byte_to_char(uint8_t byte) {
  return alphabet().chars[byte];
}

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    append_utf8(out, byte_to_char(static_cast<uint8_t>(byte)));
  }
  return out;
}

bool append_from_byte_level(std::string& out, std::string_view piece) {
  const size_t before = out.size();
  for (size_t at = 0; at < piece.size();) {
    const char32_t c = next_code_point(piece, at);
    const int16_t byte = c < alphabet().bytes.size() ? alphabet().bytes[c] : int16_t{-1};
    if (byte < 0) {
      out.resize(before);
      return false;
    }
    out.push_back(static_cast<char>(byte));
  }
  return true;
}

}  // namespace sterna::text
