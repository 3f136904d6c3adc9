#pragma once

#include <filesystem>
#include <optional>

#include "quant/act_plan.h"
#include "trainer/cli/command.h"
#include "trainer/model/load.h"

namespace sterna::cli {

/// Opens a CHECKPOINT argument and says on `err` what was noticed on the way: newer checkpoints of
/// a run that were damaged and passed over. @throws recipes::UserError
model::CheckpointInfo open_checkpoint(const std::filesystem::path& path, Streams streams);

/// The recipe's [act] where it has one: it stands in for the checkpoint's own.
std::optional<quant::ActPlan> read_activations(recipes::Recipe& recipe);

}  // namespace sterna::cli
