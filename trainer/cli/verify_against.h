#pragma once

#include <filesystem>

#include "trainer/cli/command.h"

namespace sterna::cli {

/// `sterna verify EXPORT --against RUN`: compares an export with what it was made from and writes
/// certificate.json into it. Prints every difference (the first 20) to `out`.
/// @return  kDone, or kAnswerIsNo where anything differs
int verify_against(const std::filesystem::path& folder,
                   const std::filesystem::path& against,
                   Streams streams);

}  // namespace sterna::cli
