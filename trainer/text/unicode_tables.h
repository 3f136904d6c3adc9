#pragma once

namespace sterna::text {

/// Sets of characters as lengths of the stretches outside and inside, in turn, from U+0000 on, in
/// decimal with spaces between them. What each one is stands in the source.
extern const char* const kLetterRuns;
extern const char* const kNumberRuns;
extern const char* const kNumericRuns;
extern const char* const kPunctuationRuns;
extern const char* const kMarkRuns;
extern const char* const kNonspacingRuns;
extern const char* const kOtherRuns;
extern const char* const kWordRuns;
extern const char* const kUnknownRuns;

/// Ranges that a general category holds beyond Unicode 14, as part of a character class of PCRE2.
struct LaterCategory {
  const char* name;
  const char* ranges;
};
extern const LaterCategory kLaterCategories[13];

}  // namespace sterna::text
