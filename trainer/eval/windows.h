#pragma once

#include "trainer/eval/perplexity.h"

namespace sterna::eval {

/// Where the windows of a text lie; all have the same length.
struct WindowCut {
  int64_t inputs;   ///< T
  int64_t targets;  ///< T or T - 1
  int64_t stride;
  int64_t count;
};

/// @throws recipes::UserError  text too short, options out of range
WindowCut cut_windows(int64_t tokens, const EvalOptions& options);

/// First target of window `index` that counts.
int64_t first_scored(const WindowCut& w, const EvalOptions& options, int64_t index);

/// Windows of so many inputs that are run together.
int64_t windows_at_once(const EvalOptions& options, int64_t inputs);

}  // namespace sterna::eval
