#include "trainer/text/unicode.h"

#include <gtest/gtest.h>

#include "trainer/text/byte_level.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

TEST(Utf8, MalformedBytesBecomeOneReplacementForEachMaximalPart) {
  EXPECT_EQ(replace_invalid("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(replace_invalid("\xE9\x9B"), "\uFFFD");  // cut short: one part
  EXPECT_EQ(replace_invalid("\xE9\x9B!"), "\uFFFD!");
  EXPECT_EQ(replace_invalid("\xC0\x80"), "\uFFFD\uFFFD");                      // overlong
  EXPECT_EQ(replace_invalid("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");            // surrogate
  EXPECT_EQ(replace_invalid("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // beyond U+10FFFF
  EXPECT_EQ(replace_invalid("\xF0\x9F\x91"), "\uFFFD");
  EXPECT_EQ(replace_invalid("häß漢👩"), "häß漢👩");
}

TEST(Utf8, EveryCodePointSurvivesARoundTrip) {
  for (char32_t c = 0; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000) {
      continue;
    }
    std::string text;
    append_utf8(text, c);
    size_t at = 0;
    ASSERT_EQ(next_code_point(text, at), c);
    ASSERT_EQ(at, text.size());
    ASSERT_EQ(utf8_length(text[0]), text.size());
  }
}

TEST(Unicode, NormalisesInFormsCutAtAscii) {
  EXPECT_EQ(normalize("e\u0301x", Form::kNfc), "\u00e9x");
  EXPECT_EQ(normalize("ae\u0301", Form::kNfc), "a\u00e9");
  EXPECT_EQ(normalize("\u00e9", Form::kNfd), "e\u0301");
  EXPECT_EQ(normalize("ﬁ①Ⅳ", Form::kNfkc), "fi1IV");
  EXPECT_EQ(normalize("\u1112\u1161\u11ab", Form::kNfc), "\ud55c");
  EXPECT_EQ(normalize("q\u0307\u0323", Form::kNfc), "q\u0323\u0307");
  EXPECT_EQ(normalize(std::string("a\0b", 3), Form::kNfc), std::string("a\0b", 3));
  EXPECT_EQ(normalize("", Form::kNfc), "");
}

TEST(Unicode, LowersEachCharacterByItself) {
  EXPECT_EQ(lowercase("ÀΣİß"), "àσi\u0307ß");
}

TEST(Unicode, ClassesAreThoseOfTheRegularExpressions) {
  EXPECT_EQ(char_class(U'ʰ'), CharClass::kLetter);
  EXPECT_EQ(char_class(U'½'), CharClass::kNumber);
  EXPECT_EQ(char_class(0x3000), CharClass::kSpace);
  EXPECT_EQ(char_class(0x200B), CharClass::kOther);
  EXPECT_EQ(char_class(0x0301), CharClass::kOther);
  EXPECT_EQ(char_class(0x180E), CharClass::kOther);
  EXPECT_EQ(char_class(0x1F469), CharClass::kOther);
  EXPECT_EQ(char_class(0x20000), CharClass::kLetter);
}

TEST(Unicode, WordCharactersAreThoseOfRustsRegularExpressions) {
  for (const char32_t c : {U'a', U'漢', U'7', U'Ⅳ', U'_', U'‿', U'Ⓐ', U'ⓩ'})
    EXPECT_TRUE(is_word(c)) << static_cast<uint32_t>(c);
  for (const char32_t c : {0x301, 0x200C, 0x200D, 0x1F149, 0x1F150})
    EXPECT_TRUE(is_word(c)) << static_cast<uint32_t>(c);
  for (const char32_t c : {U'½', U'²', U'①', U'➎', U'-', U'©', U' '})
    EXPECT_FALSE(is_word(c)) << static_cast<uint32_t>(c);
  for (const char32_t c : {0x200B, 0x24B5, 0x24EA, 0x1F14A, 0x1F18A})
    EXPECT_FALSE(is_word(c)) << static_cast<uint32_t>(c);
}

TEST(ByteLevel, EveryByteHasACharacterOfItsOwn) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    all += static_cast<char>(byte);
  }
  std::string back;
  EXPECT_TRUE(append_from_byte_level(back, to_byte_level(all)));
  EXPECT_EQ(back, all);
  EXPECT_EQ(to_byte_level(" A\n"), "\u0120A\u010a");
  EXPECT_FALSE(append_from_byte_level(back, "漢"));
}

TEST(Utf8, AnEmptyTextIsReplacedAroundEveryCharacter) {
  EXPECT_EQ(replace_all("aé鳥", "", "-"), "-a-é-鳥-");
  EXPECT_EQ(replace_all("", "", "-"), "-");
  EXPECT_EQ(replace_all("aé", "", ""), "aé");
}

}  // namespace
}  // namespace sterna::text
