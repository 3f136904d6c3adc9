#include "trainer/text/stream.h"

#include <string_view>

#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

constexpr std::string_view kOpen = "\uFFFD";

// A character has at most four bytes, so that one which more tokens have not closed never closes.
constexpr size_t kMostOpen = 4;

// What `longer` has behind the characters that it shares with `shorter`.
std::string behind(const std::string& shorter, const std::string& longer) {
  size_t shared = 0;
  while (shared < shorter.size() && shared < longer.size() && shorter[shared] == longer[shared]) {
    ++shared;
  }
  while (shared > 0 && shared < longer.size() &&
         (static_cast<unsigned char>(longer[shared]) & 0xC0) == 0x80) {
    --shared;
  }
  return longer.substr(shared);
}

}  // namespace

std::string StreamDecoder::text(size_t end) const {
  return tokenizer_.decode(std::span(ids_).first(end));
}

std::string StreamDecoder::emit(size_t end) {
  const std::string fresh = behind(text(shown_), text(end));
  // The stretch given out now stays as the context of the next: a decoder may treat the first
  // token of a text in its own way.
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<int64_t>(shown_));
  shown_ = end - shown_;
  return fresh;
}

std::string StreamDecoder::push(int32_t id) {
  ids_.push_back(id);
  if (!text(ids_.size()).ends_with(kOpen)) {
    return emit(ids_.size());
  }
  if (ids_.size() - shown_ <= kMostOpen) {
    return "";
  }
  for (size_t end = ids_.size() - 1; end > ids_.size() - kMostOpen; --end) {
    if (!text(end).ends_with(kOpen)) {
      return emit(end);
    }
  }
  return emit(ids_.size() - kMostOpen + 1);
}

std::string StreamDecoder::flush() {
  return emit(ids_.size());
}

}  // namespace sterna::text
