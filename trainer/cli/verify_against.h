#pragma once

#include "trainer/cli/command.h"

namespace sterna::cli {

/// `sterna verify EXPORT --against RUN`: compares an export with what it was made from and writes
/// certificate.json into it, with the KL divergence on `verify.text` (of the run's recipe, unless
/// overridden). Prints every difference (the first 20) to `out`.
/// @return  kDone, or kAnswerIsNo where anything differs
int verify_against(const Invocation& typed, Streams streams);

}  // namespace sterna::cli
