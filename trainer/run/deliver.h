#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/export/prospect.h"
#include "trainer/model/load.h"
#include "trainer/run/config.h"
#include "trainer/text/tokenizer.h"

namespace sterna::run {

struct Session;

/// An export that was written, read back from the disk and found to be what was trained.
struct Delivery {
  std::filesystem::path folder;
  uint64_t bytes = 0;
  std::string text;  ///< one line for the console
};

/// The last stage of a run whose recipe names `export.format`: writes export/<format> from a
/// checkpoint, re-reads it, compares it bit for bit and writes certificate.json, with the KL
/// divergence of the export from the checkpoint where `verify.text` names a text.
/// An earlier export stays until this one is proved and in place.
/// @throws recipes::UserError  where the export cannot be written
/// @throws Interrupted  between two stages; the next call clears away what is left
/// @throws std::runtime_error  where what was read back is not what was trained
Delivery deliver(recipes::Recipe& recipe,
                 const std::filesystem::path& run_folder,
                 const std::filesystem::path& checkpoint);

/// Tokenizes `verify.text`; empty where that names none.
/// @throws recipes::UserError  a file that cannot be read or that evaluate() would refuse
std::vector<int32_t> read_verify_ids(const VerifyConfig& config,
                                     const text::Tokenizer& tokenizer,
                                     const model::DecoderConfig& decoder);

/// Mean KL divergence, in nats, of one checkpoint from another on what read_verify_ids() gave;
/// negative where that is empty.
double divergence(const VerifyConfig& config,
                  const std::vector<int32_t>& ids,
                  const model::CheckpointInfo& checkpoint,
                  const model::CheckpointInfo& reference);

/// What a recipe is going to train, as far as export formats are concerned.
/// @param recipe  that the session was opened with
exporter::Prospect prospect_of(const recipes::Recipe& recipe, const Session& session);

}  // namespace sterna::run
