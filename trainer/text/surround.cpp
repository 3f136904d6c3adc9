#include "trainer/text/surround.h"

#include <algorithm>
#include <string>

#include "recipes/user_error.h"

namespace sterna::text {
namespace {

// The cases of Hugging Face's longest_first: the shorter text is kept where it fits.
void cut(std::vector<int32_t>& a, std::vector<int32_t>& b, size_t room) {
  if (a.size() + b.size() <= room)
    return;
  const bool swapped = a.size() > b.size();
  std::vector<int32_t>& shorter = swapped ? b : a;
  std::vector<int32_t>& longer = swapped ? a : b;
  size_t rest =
      shorter.size() > room ? shorter.size() : std::max(shorter.size(), room - shorter.size());
  if (shorter.size() + rest > room) {
    shorter.resize(room / 2);
    rest = room / 2 + room % 2;
  }
  longer.resize(std::min(longer.size(), rest));
}

}  // namespace

Encoding encode_surrounded(const Tokenizer& tokenizer,
                           std::string_view a,
                           std::optional<std::string_view> b,
                           std::optional<int64_t> max_length) {
  const Surroundings& all = tokenizer.surroundings();
  const std::vector<TemplatePart>& parts = b ? all.pair : all.single;
  std::vector<int32_t> texts[2] = {tokenizer.encode(a), {}};
  if (b)
    texts[1] = tokenizer.encode(*b);
  const auto specials = std::count_if(
      parts.begin(), parts.end(), [](const TemplatePart& part) { return part.text < 0; });
  if (max_length && *max_length < specials) {
    throw recipes::UserError("a length of " + std::to_string(*max_length) +
                             " tokens has no room for the tokenizer's " + std::to_string(specials) +
                             " special ones");
  }
  if (max_length) {
    cut(texts[0], texts[1], static_cast<size_t>(*max_length - specials));
  }
  Encoding made;
  for (const TemplatePart& part : parts) {
    if (part.text < 0) {
      made.ids.push_back(part.special);
    } else {
      const std::vector<int32_t>& ids = texts[part.text];
      made.ids.insert(made.ids.end(), ids.begin(), ids.end());
    }
    made.type_ids.resize(made.ids.size(), part.type_id);
  }
  return made;
}

}  // namespace sterna::text
