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

/// The model as the checkpoint has it. @throws recipes::UserError  also where one of its activation
/// quantizers has not learned its range yet
model::Decoder load_ready(const model::CheckpointInfo& info, at::ScalarType dtype);

/// The recipe's [act] where it has one: it stands in for the checkpoint's own.
std::optional<quant::ActPlan> read_activations(recipes::Recipe& recipe);

}  // namespace sterna::cli
