#include "trainer/run/train.h"

#include <exception>
#include <new>
#include <optional>
#include <ostream>
#include <sys/ioctl.h>
#include <unistd.h>

#include "trainer/cli/command.h"
#include "trainer/cli/heap.h"
#include "trainer/cli/threads.h"
#include "trainer/dist/group.h"
#include "trainer/dist/local_launcher.h"
#include "trainer/dist/parent.h"
#include "trainer/plan/estimate.h"
#include "trainer/run/rank_checks.h"
#include "trainer/run/signals.h"

namespace sterna::cli {
namespace {

/// Columns of the terminal on standard output; 0 where it is none, or does not say: mpirun gives
/// its tasks one that nobody looks at.
int64_t terminal_columns() {
  winsize size{};
  const bool told = isatty(STDOUT_FILENO) == 1 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
  return told ? size.ws_col : 0;
}

constexpr int64_t kMostRestarts = 1'000'000;

recipes::Recipe named_recipe(const Invocation& typed) {
  recipes::Recipe recipe = open_recipe(typed);
  // Recipe files are called after what they do; a run without a name of its own takes that.
  if (!recipe.section("run").has("name"))
    recipe.set("run.name=\"" + typed.recipes.front().stem().string() + "\"");
  return recipe;
}

int code_of(const run::TrainEnd& end) {
  return end.stopped_early ? kStoppedEarly : kDone;
}

int train_alone(const Invocation& typed, const dist::Launch& launch, Streams streams) {
  const run::EarlyStop early;
  recipes::Recipe recipe = named_recipe(typed);
  run::TrainOptions options{typed.has("resume"), terminal_columns(), streams.out};
  options.restarted = launch.restarts > 0;
  options.launch = launch.job + " of " + dist::own_parent();
  options.estimate = plan::estimate;
  options.local = {launch.local_rank, launch.local_size};
  return code_of(run::train(recipe, options));
}

const dist::Stops kStops{
    run::SignalWatch::arrived, run::SignalWatch::relay, run::SignalWatch::checks};

int train_in_group(const Invocation& typed,
                   const dist::Launch& launch,
                   dist::Group& group,
                   dist::Talk& talk) {
  share_cores(launch.local_size);
  recipes::Recipe recipe = named_recipe(typed);
  const auto dist = recipe.section("dist").read<run::DistConfig>();
  if (dist.shards() || dist.teacher == "sharded")
    return_large_blocks();
  // The world belongs to the group, which outlives the run.
  const std::shared_ptr<dist::World> world(&group.join(dist.timeout), [](dist::World*) {});
  run::TrainOptions options{
      typed.has("resume"), launch.rank == 0 ? terminal_columns() : 0, talk.out()};
  options.world = world;
  options.restarted = group.is_restarted();
  options.launch = group.launch_name();
  options.estimate = plan::estimate;
  options.local = {launch.local_rank, launch.local_size};
  options.at_device = [&](at::Device device) { talk.note("device " + device.str()); };
  options.at_folder = [&](const std::filesystem::path& folder) {
    // From here on every stage ends orderly, and says what it has kept.
    group.pulse().stops().share(kStops);
    talk.keep_in(folder / "logs" / ("rank-" + std::to_string(launch.rank) + ".log"));
  };
  const run::TrainEnd end = run::train(recipe, options);
  talk.note(end.stopped_early ? "stopped early" : "done");
  group.leave(code_of(end));
  return code_of(end);
}

/// Before the group's threads are there. @return  what is wrong, for the group to tell; or null
std::exception_ptr prepare_environment(const Invocation& typed) {
  try {
    recipes::Recipe recipe = named_recipe(typed);
    if (recipe.section("train").read<run::TrainConfig>().deterministic)
      run::set_deterministic_environment();
    return nullptr;
  } catch (const recipes::UserError&) {
    return std::current_exception();
  }
}

/// One of several ranks: what it throws ends all of them.
int train_as_rank(const Invocation& typed, const dist::Launch& launch, Streams streams) {
  if (!dist::has_gloo())
    throw recipes::UserError(
        "this program was built without Gloo's headers, and trains with one rank only: install "
        "libgloo-dev and build again");
  const run::SignalWatch watch;
  const std::exception_ptr refused = prepare_environment(typed);
  dist::Talk talk(launch.rank, streams.out, streams.err);
  std::optional<run::StopInTime> in_time(std::in_place);  // until there is a pulse
  dist::Group group(launch, talk, kStops);
  in_time.reset();
  try {
    if (refused)
      std::rethrow_exception(refused);
    return train_in_group(typed, launch, group, talk);
  } catch (const recipes::UserError& error) {
    group.fail(kUserError, error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    group.fail(kUserError,
               std::string(error.what()) + "; is the path writable, and is there space?");
  } catch (const std::bad_alloc&) {
    group.fail(kOurFault, std::string("out of memory. ") + plan::kMemoryKnobs);
  } catch (const c10::Error& error) {
    group.fail(kOurFault, error.what_without_backtrace());
  } catch (const std::exception& error) {
    group.fail(kOurFault, error.what());
  }
}

int launch_ranks(const Invocation& typed, const dist::Launch& launch, Streams streams) {
  if (!launch.launcher.empty())
    throw recipes::UserError("--nproc starts ranks, but by its variables this process is rank " +
                             std::to_string(launch.rank) + " of " + std::to_string(launch.size) +
                             " that " + launch.launcher +
                             " started; leave --nproc out, or unset them");
  dist::LocalJob job;
  job.ranks = typed.integer("nproc", 1, {1, run::kMostRanksOfHost});
  job.max_restarts = typed.integer("max-restarts", 0, {0, kMostRestarts});
  job.arguments = {"train"};
  for (const std::filesystem::path& recipe : typed.recipes)
    job.arguments.push_back(recipe.string());
  job.arguments.insert(job.arguments.end(), typed.overrides.begin(), typed.overrides.end());
  for (const char* flag : {"resume", "verbose"})
    if (typed.has(flag))
      job.arguments.push_back(std::string("--") + flag);
  return dist::run_local(job, streams.err);
}

int run_train(const Invocation& typed, Streams streams) {
  const dist::Launch launch = dist::read_launch(dist::process_environment());
  if (typed.has("nproc"))
    return launch_ranks(typed, launch, streams);
  if (typed.has("max-restarts"))
    throw recipes::UserError("--max-restarts: goes with --nproc; other launchers have their own");
  return launch.in_group() ? train_as_rank(typed, launch, streams)
                           : train_alone(typed, launch, streams);
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
      "second signal stops\nat once and saves nothing: exit code 130 (SIGINT) or 143 (SIGTERM).\n"
      "--nproc N trains with N processes of this host, which share every step; torchrun "
      "--no-python,\nsrun and mpirun work as they are. A rank that is lost ends all, with exit "
      "code 70 and its name.";
  command.example = "train recipes/smollm2_finetune.toml train.steps=2";
  command.recipes = {1, 8};
  command.flags = {{"resume", "", "continue the run in its folder"},
                   {"nproc", "N", "start N ranks on this host"},
                   {"max-restarts",
                    "K",
                    "with --nproc: begin anew from the newest checkpoint, at most K times"}};
  command.memory_hint = plan::kMemoryKnobs;
  command.run = run_train;
  return command;
}

}  // namespace sterna::cli
