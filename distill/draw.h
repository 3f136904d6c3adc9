#pragma once

#include <cstdint>

namespace sterna::distill {

/// A number in [0, 1) that is a pure function of its arguments: there is no generator to save, and
/// neither micro-batches nor ranks change it.
/// @param sample  global sample index
/// @param site    which draw of that sample: a layer, for example
double draw(int64_t seed, int64_t step, int64_t sample, int64_t site);

}  // namespace sterna::distill
