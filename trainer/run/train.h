#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/dist/world.h"
#include "trainer/run/device.h"

namespace sterna::run {

struct Session;

struct TrainOptions {
  bool resume = false;
  int64_t columns = 0;  ///< of the terminal that `out` is; 0: it is none
  std::ostream& out;
  std::shared_ptr<dist::World> world = nullptr;  ///< the ranks that train together; null: alone
  /// A launcher has started all ranks anew, or one of them: resume what this launch began, else
  /// begin. Ranks may differ in it.
  bool restarted = false;
  std::string launch = {};  ///< its name, which no other launch has
  /// Told the run's folder as soon as there is one.
  std::function<void(const std::filesystem::path&)> at_folder = {};
  /// Lines about what the run will need, told when its models are loaded.
  std::function<std::vector<std::string>(const Session&)> estimate = {};
  LocalRank local = {};                            ///< which device train.device means
  std::function<void(at::Device)> at_device = {};  ///< told where models compute
  /// Stands in for train.device; what program and machine have is not asked then.
  std::optional<at::Device> device = std::nullopt;
};

struct TrainEnd {
  bool stopped_early = false;  ///< by a signal, with the last complete step saved
  std::filesystem::path run;   ///< the run's folder; empty where nothing was begun
};

/// Runs a recipe's stages: evaluation before training, block-wise reconstruction, end-to-end
/// training, evaluation behind. Writes the run folder as it goes; of several ranks, rank 0 does.
/// @throws recipes::UserError
TrainEnd train(recipes::Recipe& recipe, const TrainOptions& options);

}  // namespace sterna::run
