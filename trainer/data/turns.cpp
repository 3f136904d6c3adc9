#include "trainer/data/turns.h"

#include <algorithm>

#include "recipes/user_error.h"
#include "trainer/data/documents.h"

namespace sterna::data {

size_t common_prefix(std::span<const int32_t> a, std::span<const int32_t> b) {
  const auto [end, unused] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return static_cast<size_t>(end - a.begin());
}

Turns::Turns(const text::Tokenizer& tokenizer) : tokenizer_(tokenizer), template_(tokenizer) {}

// Where the template writes message `index`, behind the words that ask the assistant for its turn.
Turns::Span Turns::answer(std::span<const text::ChatMessage> messages,
                          size_t index,
                          const std::string& whole) const {
  const auto fail = [&](const std::string& why) {
    throw recipes::UserError("the chat template " + why + " message " + std::to_string(index + 1) +
                             ", so that what the assistant said cannot be told from the rest");
  };
  const std::string before = template_.render(messages.first(index), true);
  if (!whole.starts_with(before))
    fail("does not go on with");
  const std::string after = template_.render(messages.first(index + 1), false);
  if (whole.starts_with(after))
    return {before.size(), after.size()};
  // Some templates write the last turn otherwise than those before it; its end is the same.
  const std::string_view said = stripped(messages[index].content);
  const size_t last = after.rfind(said);
  const size_t found = whole.find(said, before.size());
  if (last == after.npos || found == whole.npos)
    fail("rewrites");
  const std::string_view tail = std::string_view(after).substr(last + said.size());
  if (!std::string_view(whole).substr(found + said.size()).starts_with(tail))
    fail("does not end");
  return {before.size(), found + said.size() + tail.size()};
}

TokenDocument Turns::encode(std::span<const text::ChatMessage> messages) const {
  const std::string whole = template_.render(messages, false);
  TokenDocument made;
  made.ids = tokenizer_.encode(whole);
  made.loss.resize(made.ids.size());
  // A token over the border of a turn belongs to the turn that it ends in.
  const auto tokens_before = [&](size_t end) {
    return common_prefix(tokenizer_.encode(std::string_view(whole).substr(0, end)), made.ids);
  };
  for (size_t i = 0; i < messages.size(); ++i) {
    if (messages[i].role != "assistant")
      continue;
    const Span span = answer(messages, i, whole);
    const size_t begin = tokens_before(span.begin);
    size_t end = tokens_before(span.end);
    // Behind the token that ends its turn the assistant is not asked for white space.
    size_t words = end;
    while (words > begin && stripped(tokenizer_.decode({{made.ids[words - 1]}})).empty())
      --words;
    if (words > begin && tokenizer_.is_special(made.ids[words - 1]))
      end = words;
    std::fill(made.loss.begin() + static_cast<int64_t>(begin),
              made.loss.begin() + static_cast<int64_t>(end),
              uint8_t{1});
  }
  return made;
}

}  // namespace sterna::data
