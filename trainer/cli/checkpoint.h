#pragma once

#include <filesystem>
#include <optional>

#include "quant/act_plan.h"
#include "trainer/cli/command.h"
#include "trainer/model/answering.h"

namespace sterna::cli {

/// Opens a CHECKPOINT argument and says on `err` what was noticed on the way: newer checkpoints of
/// a run that were damaged and passed over. @throws recipes::UserError
model::CheckpointInfo open_checkpoint(const std::filesystem::path& path, Streams streams);

/// The flag of verbs whose model only answers.
Flag weights_flag();

/// What --weights asks for. @param packed  what that word means to the verb
/// @throws recipes::UserError  for another word
model::WeightForm read_weight_form(const Invocation& typed, model::WeightForm packed);

/// The model as the checkpoint has it, in the form that --weights asks for. @throws
/// recipes::UserError  also where one of its activation quantizers has not learned its range yet
model::AnsweringModel load_ready(const model::CheckpointInfo& info,
                                 at::ScalarType dtype,
                                 model::WeightForm form);

/// Says on `err` which matrices have codes that no kernel multiplies.
void tell_decoded(const model::PackingReport& report, Streams streams);

/// The recipe's [act] where it has one: it stands in for the checkpoint's own.
std::optional<quant::ActPlan> read_activations(recipes::Recipe& recipe);

}  // namespace sterna::cli
