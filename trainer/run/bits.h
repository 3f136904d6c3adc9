#pragma once

#include "trainer/run/log.h"
#include "trainer/run/run_folder.h"
#include "trainer/run/session.h"

namespace sterna::run {

/// Where give_bits() works.
struct BitsOf {
  const RunFolder& folder;
  bool resuming;
  Progress& progress;
};

/// Puts rules for the bits of each matrix into the recipe: a resumed run's own, else measured ones,
/// which are printed and kept as bits.toml in the run's folder. The recipe is to be opened again.
/// Every rank calls it and measures its share.
/// @param session  opened, not loaded
/// @throws Interrupted  between two blocks, on all ranks
/// @throws recipes::UserError  where the folder holds a run of another recipe
void give_bits(recipes::Recipe& recipe, const Session& session, const BitsOf& of);

}  // namespace sterna::run
