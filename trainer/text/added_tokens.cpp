#include "trainer/text/added_tokens.h"

#include <algorithm>

#include "trainer/text/unicode.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

// The character that ends at `end`.
char32_t char_before(std::string_view text, size_t end, size_t& begin) {
  begin = end - 1;
  while (begin > 0 && (static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) {
    --begin;
  }
  size_t at = begin;
  return next_code_point(text, at);
}

bool touches_word(std::string_view text, size_t begin, size_t end) {
  size_t unused = 0;
  size_t after = end;
  return (begin > 0 && is_word(char_before(text, begin, unused))) ||
         (end < text.size() && is_word(next_code_point(text, after)));
}

size_t strip_left(std::string_view text, size_t begin, size_t floor) {
  while (begin > floor) {
    size_t previous = 0;
    if (!is_space(char_before(text, begin, previous))) {
      break;
    }
    begin = previous;
  }
  return std::max(begin, floor);
}

size_t strip_right(std::string_view text, size_t end) {
  while (end < text.size()) {
    size_t next = end;
    if (!is_space(next_code_point(text, next))) {
      break;
    }
    end = next;
  }
  return end;
}

}  // namespace

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens) : tokens_(tokens) {
  first_.fill(-1);
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    insert(tokens_[i].content, static_cast<int32_t>(i));
  }
}

int32_t AddedTokens::new_node() {
  nodes_.emplace_back();
  return static_cast<int32_t>(nodes_.size()) - 1;
}

void AddedTokens::insert(const std::string& content, int32_t token) {
  int32_t& first = first_[static_cast<uint8_t>(content[0])];
  first = first < 0 ? new_node() : first;
  int32_t node = first;
  for (const char byte : content.substr(1)) {
    const auto& next = nodes_[static_cast<size_t>(node)].next;
    const auto found = next.find(byte);
    const int32_t child = found == next.end() ? new_node() : found->second;
    nodes_[static_cast<size_t>(node)].next[byte] = child;
    node = child;
  }
  nodes_[static_cast<size_t>(node)].token = token;
}

bool AddedTokens::next_hit(std::string_view text, size_t from, Hit& hit) const {
  for (size_t begin = from; begin < text.size(); ++begin) {
    int32_t node = first_[static_cast<uint8_t>(text[begin])];
    hit.token = -1;
    for (size_t at = begin + 1; node >= 0; ++at) {
      const Node& current = nodes_[static_cast<size_t>(node)];
      if (current.token >= 0) {
        hit = {begin, at, current.token};
      }
      if (at >= text.size()) {
        break;
      }
      const auto found = current.next.find(text[at]);
      node = found == current.next.end() ? -1 : found->second;
    }
    if (hit.token >= 0) {
      return true;
    }
  }
  return false;
}

void AddedTokens::split(std::string_view text,
                        const std::function<void(size_t, size_t)>& part,
                        const std::function<void(int32_t)>& token) const {
  // As Hugging Face does it, also where a token that swallows spaces has swallowed the next token.
  size_t done = 0;
  Hit hit;
  for (size_t from = 0; !tokens_.empty() && next_hit(text, from, hit); from = hit.end) {
    const AddedToken& found = tokens_[static_cast<size_t>(hit.token)];
    if (found.single_word && touches_word(text, hit.begin, hit.end)) {
      continue;
    }
    const size_t begin = found.lstrip ? strip_left(text, hit.begin, done) : hit.begin;
    if (begin > done) {
      part(done, begin);
    }
    token(found.id);
    done = found.rstrip ? strip_right(text, hit.end) : hit.end;
  }
  if (done < text.size() || text.empty()) {
    part(done, text.size());
  }
}

}  // namespace sterna::text
