#pragma once

#include <filesystem>
#include <ostream>

#include "recipes/recipe.h"

namespace sterna::run {

struct TrainOptions {
  bool resume = false;
  int64_t columns = 0;  ///< of the terminal that `out` is; 0: it is none
  std::ostream& out;
};

struct TrainEnd {
  bool stopped_early = false;  ///< by a signal, with the last complete step saved
  std::filesystem::path run;   ///< the run's folder
};

/// Runs a recipe's stages: evaluation before training, block-wise reconstruction, end-to-end
/// training, evaluation behind. Writes the run folder as it goes.
/// @throws recipes::UserError
TrainEnd train(recipes::Recipe& recipe, const TrainOptions& options);

}  // namespace sterna::run
