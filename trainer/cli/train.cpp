#include "trainer/run/train.h"

#include <ostream>
#include <sys/ioctl.h>
#include <unistd.h>

#include "trainer/cli/command.h"
#include "trainer/run/estimate.h"

namespace sterna::cli {
namespace {

/// Columns of the terminal on standard output; 0 where it is none.
int64_t terminal_columns() {
  constexpr int64_t kUsual = 80;
  if (isatty(STDOUT_FILENO) != 1)
    return 0;
  winsize size{};
  const bool told = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return told ? size.ws_col : kUsual;
}

int run_train(const Invocation& typed, Streams streams) {
  recipes::Recipe recipe = open_recipe(typed);
  // Recipe files are called after what they do; a run without a name of its own takes that.
  if (!recipe.section("run").has("name"))
    recipe.set("run.name=\"" + typed.recipes.front().stem().string() + "\"");
  const run::TrainEnd end =
      run::train(recipe, {typed.has("resume"), terminal_columns(), streams.out});
  return end.stopped_early ? kStoppedEarly : kDone;
}

}  // namespace

Command train_command() {
  Command command;
  command.name = "train";
  command.usage = "RECIPE [key=value]...";
  command.summary = "trains a student as a recipe says: block-wise, then end to end";
  command.details =
      "Writes <run.dir>/<run.name>: recipe.toml (resolved), log.jsonl, checkpoints/step-N, "
      "eval/*.json\nand TensorBoard events. SIGTERM or Ctrl-C saves the last complete step and "
      "exits with 3;\n--resume continues from the newest complete checkpoint, bit for bit. A "
      "second signal stops\nat once and saves nothing: exit code 130 (SIGINT) or 143 (SIGTERM).";
  command.example = "train recipes/smollm2_finetune.toml train.steps=2";
  command.recipes = {1, 8};
  command.flags = {{"resume", "", "continue the run in its folder"}};
  command.memory_hint = run::kMemoryKnobs;
  command.run = run_train;
  return command;
}

}  // namespace sterna::cli
