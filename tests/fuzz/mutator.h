#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace sterna::tests::fuzz {

/// Random damage to seeds, the same for the same number: bytes, lengths and numbers of binary
/// files; numbers, words and whole members of texts; pieces of other seeds.
class Mutator {
 public:
  Mutator(std::vector<std::string> seeds, uint64_t number);

  /// One to four changes of one seed.
  std::string next();

 private:
  size_t below(size_t n) { return random_() % n; }
  /// Half of them near the front, where headers and lengths are.
  size_t place_in(const std::string& text);
  void change(std::string& text);
  void change_bytes(std::string& text, size_t at);
  void change_numbers(std::string& text, size_t at);
  void change_parts(std::string& text, size_t at);

  std::vector<std::string> seeds_;
  std::mt19937_64 random_;
};

}  // namespace sterna::tests::fuzz
