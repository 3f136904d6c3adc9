#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace sterna::text {

/// A token that is found in the text before the model sees it.
struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool single_word = false;  ///< no word character may touch it
  bool lstrip = false;       ///< swallows the white space in front of it
  bool rstrip = false;       ///< and behind it
  bool normalized = false;   ///< matched in the normalised text
  bool special = false;
};

/// Finds a set of tokens in a text, leftmost and of those the longest.
class AddedTokens {
 public:
  AddedTokens() { first_.fill(-1); }
  /// @param tokens  `content` is what is looked for; an empty one is left out
  explicit AddedTokens(const std::vector<AddedToken>& tokens);

  bool empty() const { return tokens_.empty(); }

  /// Calls `text(begin, end)` and `token(id)` from left to right; an empty text is one empty part.
  void split(std::string_view text,
             const std::function<void(size_t, size_t)>& part,
             const std::function<void(int32_t)>& token) const;

 private:
  struct Node {
    std::map<char, int32_t> next;
    int32_t token = -1;  ///< index in tokens_
  };
  struct Hit {
    size_t begin = 0;
    size_t end = 0;
    int32_t token = -1;
  };

  int32_t new_node();
  void insert(const std::string& content, int32_t token);
  bool next_hit(std::string_view text, size_t from, Hit& hit) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::array<int32_t, 256> first_{};  ///< node behind a first byte; -1 for none
};

}  // namespace sterna::text
