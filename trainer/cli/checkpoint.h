#pragma once

#include <filesystem>

#include "trainer/cli/command.h"
#include "trainer/model/load.h"

namespace sterna::cli {

/// Opens a CHECKPOINT argument and says on `err` what was noticed on the way: newer checkpoints of
/// a run that were damaged and passed over. @throws recipes::UserError
model::CheckpointInfo open_checkpoint(const std::filesystem::path& path, Streams streams);

}  // namespace sterna::cli
