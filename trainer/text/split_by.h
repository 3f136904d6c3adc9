#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/text/pre_tokenizer.h"

namespace sterna::text {

/// What becomes of the matches of a splitting pre-tokenizer.
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

/// @throws recipes::UserError  for an unknown name ("MergedWithNext" and so on)
SplitBehavior parse_behavior(const std::string& name);

/// A stretch of a text that a pattern matched, or one between two matches.
struct Stretch {
  size_t begin = 0;
  size_t end = 0;
  bool match = false;
};

using Found = std::function<void(size_t, size_t)>;

/// Cuts `piece` by the matches that `find` reports from left to right.
/// @param invert  the gaps are the matches
void split_by(Piece piece,
              const std::function<void(std::string_view, const Found&)>& find,
              SplitBehavior behavior,
              bool invert,
              PieceSink& sink);

}  // namespace sterna::text
