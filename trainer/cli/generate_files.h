#pragma once

#include "trainer/cli/command.h"
#include "trainer/eval/generate.h"

namespace sterna::cli {

/// `generate --sequences N --out FILE`: ids that a checkpoint makes up, for data.format = "tokens".
int write_sequences(const Invocation& typed, at::ScalarType dtype, Streams streams);

/// `generate --prompts FILE --out FILE`: JSON lines with what follows each prompt added.
int write_answers(const Invocation& typed,
                  const eval::Sampling& sampling,
                  at::ScalarType dtype,
                  Streams streams);

}  // namespace sterna::cli
