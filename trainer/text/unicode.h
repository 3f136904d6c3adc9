#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sterna::text {

// Hugging Face tokenizers ask several libraries, built with different versions of Unicode, what a
// character is; unicode_tables.cpp holds their answers.

/// The four classes that byte-level splitters tell apart: \p{L}, \p{N}, White_Space, the rest.
enum class CharClass : uint8_t { kLetter, kNumber, kSpace, kOther };

CharClass char_class(char32_t code_point);

/// White_Space, as \s of Oniguruma and Rust's char::is_whitespace.
bool is_space(char32_t code_point);
/// Rust's char::is_numeric.
bool is_numeric(char32_t code_point);
/// ASCII punctuation and general category P* of Unicode 8.
bool is_punctuation(char32_t code_point);
/// General category M* of Unicode 8.
bool is_mark(char32_t code_point);
/// General category Mn of Unicode 8.
bool is_nonspacing(char32_t code_point);
/// What BERT's cleaning drops: control, format and private characters but tab and line ends,
/// U+FFFD.
bool is_no_text(char32_t code_point);
/// CJK ideographs as BERT's normalizer counts them.
bool is_ideograph(char32_t code_point);
/// \w of Rust's regex crate: Alphabetic, M*, Nd, Pc and the two joiners; no fractions or powers.
bool is_word(char32_t code_point);

/// Unicode normalisation forms.
enum class Form { kNfc, kNfd, kNfkc, kNfkd };

/// `text` must be valid UTF-8.
std::string normalize(std::string_view text, Form form);

/// Each character's full lower-case mapping, without context rules (as Rust's to_lowercase of a
/// char).
std::string lowercase(std::string_view text);

/// Each character's simple upper-case mapping, and SS for U+00DF.
std::string uppercase(std::string_view text);

}  // namespace sterna::text
