#include "trainer/text/vocabulary.h"

#include <utility>

namespace sterna::text {

Vocabulary::Vocabulary(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {
  ids_.reserve(pieces_.size() * 2);
  for (size_t id = 0; id < pieces_.size(); ++id) {
    if (!pieces_[id].empty()) {
      ids_.emplace(pieces_[id], static_cast<int32_t>(id));
    }
  }
}

const std::string& Vocabulary::piece(int32_t id) const {
  static const std::string kNone;
  return id >= 0 && id < size() ? pieces_[static_cast<size_t>(id)] : kNone;
}

std::optional<int32_t> Vocabulary::find(std::string_view piece) const {
  const auto found = ids_.find(piece);
  return found == ids_.end() ? std::nullopt : std::optional<int32_t>(found->second);
}

}  // namespace sterna::text
