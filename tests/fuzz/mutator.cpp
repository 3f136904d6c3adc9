#include "tests/fuzz/mutator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace sterna::tests::fuzz {
namespace {

constexpr std::array<uint64_t, 12> kLengths = {0,
                                               1,
                                               2,
                                               255,
                                               65536,
                                               uint64_t{1} << 31,
                                               (uint64_t{1} << 32) - 1,
                                               uint64_t{1} << 40,
                                               uint64_t{1} << 62,
                                               uint64_t{INT64_MAX},
                                               uint64_t{1} << 63,
                                               UINT64_MAX};
constexpr std::array<std::string_view, 20> kNumbers = {"0",
                                                       "-1",
                                                       "1",
                                                       "3",
                                                       "0.5",
                                                       "1e-9",
                                                       "1e308",
                                                       "-1e308",
                                                       "65535",
                                                       "16777215",
                                                       "16777217",
                                                       "1000000000",
                                                       "2147483647",
                                                       "2147483648",
                                                       "4294967296",
                                                       "4611686018427387904",
                                                       "9223372036854775807",
                                                       "-9223372036854775808",
                                                       "18446744073709551615",
                                                       "99999999999999999999999"};
constexpr std::array<std::string_view, 30> kWords = {"null",
                                                     "true",
                                                     "false",
                                                     "\"\"",
                                                     "[]",
                                                     "{}",
                                                     "[[[[[[[[",
                                                     "{\"a\":",
                                                     "\"a\"",
                                                     "\"\\u0000\"",
                                                     "\"\xff\"",
                                                     ",",
                                                     "]",
                                                     "}",
                                                     "\"",
                                                     "\\",
                                                     "inf",
                                                     "nan",
                                                     "[a]\n",
                                                     "a = 1\n",
                                                     "\"Regex\"",
                                                     "\"Sequence\"",
                                                     "\"(a*)*\"",
                                                     "#",
                                                     "{% for x in range(9999) %}",
                                                     "{% endfor %}",
                                                     "{% set x = x ~ messages[0].content ~ x %}",
                                                     "messages",
                                                     "[x, x]",
                                                     "|list"};

constexpr size_t kMost = size_t{1} << 20;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// From `at` to behind the next comma or line break.
size_t end_of_member(const std::string& text, size_t at) {
  const size_t end = text.find_first_of(",\n", at);
  return end == std::string::npos ? text.size() : end + 1;
}

}  // namespace

Mutator::Mutator(std::vector<std::string> seeds, uint64_t number)
    : seeds_(std::move(seeds)), random_(number) {}

std::string Mutator::next() {
  std::string text = seeds_[below(seeds_.size())];
  for (size_t changes = 1 + below(4); changes > 0 && !text.empty(); --changes)
    change(text);
  text.resize(std::min(text.size(), kMost));
  return text;
}

size_t Mutator::place_in(const std::string& text) {
  const size_t at = below(text.size());
  return below(2) == 0 ? at : below(std::min(at, size_t{400}) + 1);
}

void Mutator::change(std::string& text) {
  const size_t at = place_in(text);
  switch (below(3)) {
    case 0:
      return change_bytes(text, at);
    case 1:
      return change_numbers(text, at);
    default:
      return change_parts(text, at);
  }
}

void Mutator::change_bytes(std::string& text, size_t at) {
  switch (below(6)) {
    case 0:
      text[at] = static_cast<char>(below(256));
      break;
    case 1:
      text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
      break;
    case 2:
      text.resize(at);
      break;
    case 3:
      text.insert(at, std::string(1 + below(40), static_cast<char>(below(256))));
      break;
    case 4:
      text.erase(at, 1 + below(20));
      break;
    default:
      text.insert(at, kWords[below(kWords.size())]);
      break;
  }
}

void Mutator::change_numbers(std::string& text, size_t at) {
  if (below(2) == 0) {
    const uint64_t length = kLengths[below(kLengths.size())] + below(3) - 1;
    std::memcpy(text.data() + at, &length, std::min(size_t{4} << below(2), text.size() - at));
    return;
  }
  const auto begin = std::find_if(text.begin() + static_cast<ptrdiff_t>(at), text.end(), is_digit);
  const auto end = std::find_if_not(begin, text.end(), is_digit);
  text.replace(begin, end, kNumbers[below(kNumbers.size())]);
}

void Mutator::change_parts(std::string& text, size_t at) {
  const size_t end = end_of_member(text, at);
  switch (below(5)) {
    case 0:
      text.erase(at, end - at);
      break;
    case 1:
      text.insert(end, text.substr(at, end - at));
      break;
    case 2:
      text.replace(at, end - at - 1, kWords[below(kWords.size())]);
      break;
    case 3: {
      const std::string& other = seeds_[below(seeds_.size())];
      const size_t from = below(other.size());
      text.insert(at, other.substr(from, end_of_member(other, from) - from));
      break;
    }
    default:
      text.insert(at, text.substr(below(text.size()), below(200)));
      break;
  }
}

}  // namespace sterna::tests::fuzz
