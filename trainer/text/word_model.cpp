#include "trainer/text/word_model.h"

#include <span>

namespace sterna::text {

void WordModel::encode_part(std::string_view part,
                            Scratch& scratch,
                            std::vector<int32_t>& out) const {
  if (part.size() > WordCache::kMaxBytes) {
    encode_anew(part, scratch);
    out.insert(out.end(), scratch.symbols.begin(), scratch.symbols.end());
    return;
  }
  const WordCache::Place place = scratch.cache.find(part);
  if (!place.hit) {
    encode_anew(part, scratch);
    scratch.cache.store(place, scratch.symbols);
    out.insert(out.end(), scratch.symbols.begin(), scratch.symbols.end());
    return;
  }
  const std::span<const int32_t> ids = scratch.cache.ids(place);
  out.insert(out.end(), ids.begin(), ids.end());
}

}  // namespace sterna::text
