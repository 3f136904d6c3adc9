#include "trainer/text/split_by.h"

#include <algorithm>

#include "trainer/text/spec.h"

namespace sterna::text {
namespace {

// Joins a match to its neighbour in the given order of stretches, unless that neighbour is a
// match too: of several matches in a row only the first one joins.
std::vector<Stretch> join_matches(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> out;
  bool previous_match = false;
  for (const Stretch& stretch : stretches) {
    if (stretch.match && !previous_match && !out.empty()) {
      out.back().begin = std::min(out.back().begin, stretch.begin);
      out.back().end = std::max(out.back().end, stretch.end);
    } else {
      out.push_back(stretch);
    }
    previous_match = stretch.match;
  }
  return out;
}

std::vector<Stretch> join_equal(const std::vector<Stretch>& stretches) {
  std::vector<Stretch> out;
  for (const Stretch& stretch : stretches) {
    if (!out.empty() && out.back().match == stretch.match) {
      out.back().end = stretch.end;
    } else {
      out.push_back(stretch);
    }
  }
  return out;
}

std::vector<Stretch> arrange(std::vector<Stretch> stretches, SplitBehavior behavior) {
  switch (behavior) {
    case SplitBehavior::kMergedWithPrevious:
      return join_matches(stretches);
    case SplitBehavior::kMergedWithNext:
      std::reverse(stretches.begin(), stretches.end());
      stretches = join_matches(stretches);
      std::reverse(stretches.begin(), stretches.end());
      return stretches;
    case SplitBehavior::kContiguous:
      return join_equal(stretches);
    case SplitBehavior::kRemoved:
      std::erase_if(stretches, [](const Stretch& stretch) { return stretch.match; });
      return stretches;
    case SplitBehavior::kIsolated:
      return stretches;
  }
  return stretches;
}

}  // namespace

SplitBehavior parse_behavior(const std::string& name) {
  if (name == "Removed") {
    return SplitBehavior::kRemoved;
  }
  if (name == "Isolated") {
    return SplitBehavior::kIsolated;
  }
  if (name == "MergedWithPrevious") {
    return SplitBehavior::kMergedWithPrevious;
  }
  if (name == "MergedWithNext") {
    return SplitBehavior::kMergedWithNext;
  }
  if (name == "Contiguous") {
    return SplitBehavior::kContiguous;
  }
  refuse("split behavior", name);
}

void split_by(Piece piece,
              const std::function<void(std::string_view, const Found&)>& find,
              SplitBehavior behavior,
              bool invert,
              PieceSink& sink) {
  std::vector<Stretch> stretches;
  size_t done = 0;
  find(piece.text, [&](size_t begin, size_t end) {
    if (begin > done) {
      stretches.push_back({done, begin, invert});
    }
    stretches.push_back({begin, end, !invert});
    done = end;
  });
  if (done < piece.text.size()) {
    stretches.push_back({done, piece.text.size(), invert});
  }
  for (const Stretch& stretch : arrange(std::move(stretches), behavior)) {
    if (stretch.end > stretch.begin) {
      sink.take({piece.text.substr(stretch.begin, stretch.end - stretch.begin),
                 piece.start && stretch.begin == 0});
    }
  }
}

}  // namespace sterna::text
