#pragma once

#include "trainer/run/session.h"

namespace sterna::run {

/// Refuses configurations that do not fit the recipe or each other, and parts of the recipe that
/// name nothing in the model. Needs no tokenizer.
/// @throws recipes::UserError
void require_fitting_shapes(const Session& session);

/// The same, prompts, and that student and teacher read the same tokens.
/// @throws recipes::UserError
void require_fitting_models(const Session& session);

/// Refuses preferences without data for them, and the reverse.
/// @throws recipes::UserError
void require_pairs(const Session& session);

}  // namespace sterna::run
