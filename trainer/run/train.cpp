// A run from its recipe to its closing table. The rooms behind these lines: opening.cpp (what is
// read), session.cpp (what is loaded), resume.cpp (where it starts), stages.cpp (what is trained),
// saving.cpp (what it leaves to go on from), finish.cpp (what is made of it); one step of training
// is step.cpp, one block of the block-wise stage blockwise.cpp.
#include "trainer/run/train.h"

#include <algorithm>
#include <optional>

#include "recipes/blame.h"
#include "trainer/io/atomic_file.h"
#include "trainer/run/bits.h"
#include "trainer/run/load_shares.h"
#include "trainer/run/rank_checks.h"
#include "trainer/run/run.h"
#include "trainer/run/signals.h"
#include "trainer/run/teach_ahead.h"
#include "trainer/run/together.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

/// What an error must not take along. A step changes weights at its very end, where nothing is left
/// for the user to mend; a block of the block-wise stage all along. Of several ranks the others are
/// elsewhere by then, or ending the job.
void save_what_is_complete(Run& run) noexcept {
  try {
    if (run.state.stage == "train" && run.state.step > 0 && run.session.world->size() == 1)
      save(run);
  } catch (const std::exception& error) {
    run.progress.line(std::string("could not be saved: ") + error.what());
  }
}

/// A checkpoint that is being written gets its name, whatever went wrong behind it.
void finish_saving(Run& run) noexcept {
  try {
    if (run.session.world->size() == 1)
      look_after_saving(run, /*wait=*/true);
  } catch (const std::exception& error) {
    run.progress.line(std::string("could not be saved: ") + error.what());
  }
}

/// The stages that the recipe asks for, each from where the run stands.
/// @return  false where a signal ended them; what was complete is saved then
bool train_stages(Run& run) {
  try {
    baseline(run);
    restore(run);
    blockwise(run);
    end_to_end(run);
    return true;
  } catch (const Interrupted& signal) {
    if (!run.state.untouched())
      save(run);
    run.progress.line(
        std::string(signal.what()) + ": " +
        (run.state.saved.empty() ? "nothing is trained yet" : "saved " + run.state.saved) +
        "; --resume continues");
    return false;
  } catch (const recipes::UserError&) {
    save_what_is_complete(run);
    throw;
  } catch (...) {
    finish_saving(run);
    throw;
  }
}

/// @param left  what there is to go on with where a signal comes
/// @return  null where one came first
std::unique_ptr<Session> open_unless_stopped(recipes::Recipe& recipe,
                                             const std::shared_ptr<dist::World>& world,
                                             Progress& progress,
                                             const std::string& left) {
  std::optional<StopInTime> in_time;
  if (world->size() == 1)  // several have their pulse
    in_time.emplace();
  try {
    return std::make_unique<Session>(open_session(recipe, world));
  } catch (const Interrupted& signal) {
    progress.line(std::string(signal.what()) + " while the text was tokenized: " + left);
    return nullptr;
  }
}

/// Where the models will compute, before anything is read for them.
void take_device(recipes::Recipe& recipe, Session& session, const TrainOptions& options) {
  const Settings& s = session.settings;
  session.device = options.device ? *options.device : recipes::at_its_key(recipe, [&] {
    return choose_device(s.train.device, options.local);
  });
  use_device(session.device);
  if (options.at_device)
    options.at_device(session.device);
  const bool offloads = s.memory.offload == "optimizer";
  if (session.device.is_cpu() && offloads)
    session.remarks.emplace_back(
        "memory.offload: \"optimizer\" changes nothing with train.device=cpu, where masters and "
        "moments are in host memory anyway");
  if (!session.device.is_cpu() && !offloads && !session.plan.empty())
    session.remarks.emplace_back(
        "quantizers compute in host memory: each step brings every quantized matrix and its "
        "gradient "
        "down once, and what becomes of them up; with memory.offload=optimizer masters and moments "
        "stay there");
}

/// Measures which bits the recipe's budget buys, unless that was done, and opens the session anew.
/// @return  false where a signal came first
bool chose_bits(recipes::Recipe& recipe, std::unique_ptr<Session>& session, const BitsOf& of) {
  if (!session->bit_tokens.defined())
    return true;
  const std::shared_ptr<dist::World> world = session->world;
  try {
    give_bits(recipe, *session, of);
  } catch (const Interrupted& signal) {
    of.progress.line(std::string(signal.what()) +
                     ": nothing is measured yet; --resume begins with that again");
    return false;
  }
  std::vector<std::string> remarks = std::move(session->remarks);
  const at::Device device = session->device;
  session =
      open_unless_stopped(recipe, world, of.progress, "the bits are kept; --resume continues");
  if (!session)
    return false;
  session->device = device;
  for (std::string& remark : session->remarks)
    if (std::find(remarks.begin(), remarks.end(), remark) == remarks.end())
      remarks.push_back(std::move(remark));
  session->remarks = std::move(remarks);
  return true;
}

/// @return  false where a signal came first
bool taught_ahead(Session& session, Progress& progress) {
  try {
    teach_ahead(session, progress);
    return true;
  } catch (const Interrupted& signal) {
    progress.line(std::string(signal.what()) +
                  ": what the teacher has said is kept; --resume continues");
    return false;
  }
}

/// Who a stage works with, and whom it tells.
struct Audience {
  dist::World& world;
  Progress& progress;
  const TrainOptions& options;
};

/// @return  false where a signal came before all was delivered
bool deliver_run(recipes::Recipe& recipe,
                 const RunFolder& folder,
                 const fs::path& checkpoint,
                 const Audience& audience) {
  auto& [world, progress, options] = audience;
  try {
    on_rank_0(world, [&] { finish(recipe, folder, checkpoint, progress); });
    return true;
  } catch (const Interrupted& signal) {
    progress.line(std::string(signal.what()) + ": trained, not exported; --resume exports " +
                  checkpoint.string());
    return false;
  }
}

/// What can be refused before a folder is made for it.
fs::path place_of_run(recipes::Recipe& recipe, const RunConfig& run) {
  if (run.name.empty())
    recipe.section("run").fail("name", "is empty; every run has a folder");
  return fs::path(run.dir) / run.name;
}

void require_resumable(const fs::path& place, bool resuming) {
  if (resuming && !fs::exists(place / "recipe.toml"))
    throw recipes::UserError(place.string() + ": no run to resume (no recipe.toml)");
}

void announce(Run& run, const TrainOptions& options) {
  for (const std::string& remark : run.session.remarks)
    run.progress.line(remark);
  const Session& session = run.session;
  if (session.settings.train.steps > 0)
    run.progress.line(ranks_text(session.settings.train, session.world->size()));
  if (options.estimate)
    for (const std::string& line : options.estimate(session))
      run.progress.line(line);
}

/// Says which launch has begun the run: that one may go on with it.
constexpr const char* kLaunchFile = ".launch";

/// A launcher that starts all ranks anew does not say --resume. What lies in the folder from before
/// its launch is not its to go on with.
bool is_resumed(const TrainOptions& options, const fs::path& place, dist::World& world) {
  if (options.resume)
    return true;
  bool restarted = false;
  for (const std::string& each : world.gather_bytes(options.restarted ? "y" : ""))
    restarted = restarted || !each.empty();
  return restarted && as_rank_0(world, [&] {
           return fs::exists(place / "recipe.toml") && fs::exists(place / kLaunchFile) &&
                  io::read_text(place / kLaunchFile) == options.launch;
         });
}

/// For a new run: what comes before the first step can be resumed as well.
void take(const RunFolder& folder, const recipes::Recipe& recipe, const std::string& launch) {
  require_folder(recipe, folder, /*resuming=*/false);
  io::write_atomically(folder.path() / kLaunchFile, launch);
  keep_recipe(recipe, folder);
}

/// The stages, from loading the models to the last checkpoint.
/// @return  that checkpoint; empty where a signal came first
fs::path train_models(const recipes::Recipe& recipe,
                      Session& session,
                      const RunFolder& folder,
                      const Audience& audience,
                      bool resuming) {
  load_models(session);
  require_same_files(session);
  Run run(recipe, session, folder, audience.progress);
  resuming ? resume(run) : begin(run);
  if (loads_shares(session))
    share_out(run);
  announce(run, audience.options);
  return train_stages(run) ? run.checkpoint() : fs::path();
}

}  // namespace

TrainEnd train(recipes::Recipe& recipe, const TrainOptions& options) {
  const std::shared_ptr<dist::World> world = options.world ? options.world : dist::make_single();
  if (world->size() > 1) {
    read_all_sections(recipe);
    require_same_start(recipe, options.resume, *world);
  }
  Progress progress(options.out, options.columns);
  const SignalWatch watch;
  std::unique_ptr<Session> session = open_unless_stopped(
      recipe, world, progress, "nothing is begun; the same command starts anew");
  if (!session)
    return {/*stopped_early=*/true, {}};
  take_device(recipe, *session, options);
  const Deterministic repeatable(session->settings.train.deterministic);
  const fs::path place = place_of_run(recipe, session->settings.run);
  const bool resuming = is_resumed(options, place, *world);
  require_resumable(place, resuming);
  std::optional<RunFolder> made;
  rank_0_first(*world, [&] { made.emplace(place, world->rank() == 0); });
  const RunFolder& folder = *made;
  if (options.at_folder)
    options.at_folder(folder.path());
  const Audience audience{*world, progress, options};
  if (!resuming)
    on_rank_0(*world, [&] { take(folder, recipe, options.launch); });
  if (!chose_bits(recipe, session, {folder, resuming, progress}))
    return {/*stopped_early=*/true, folder.path()};
  on_rank_0(*world, [&] {  // again: the bits of each matrix are rules of the recipe
    resuming ? require_folder(recipe, folder, /*resuming=*/true) : keep_recipe(recipe, folder);
  });
  if (!taught_ahead(*session, progress))
    return {/*stopped_early=*/true, folder.path()};
  const fs::path last = train_models(recipe, *session, folder, audience, resuming);
  // Models, gradients and moments go before the checkpoint is read back: it is a model of its own.
  session.reset();
  const bool delivered = !last.empty() && deliver_run(recipe, folder, last, audience);
  return {/*stopped_early=*/!delivered, folder.path()};
}

}  // namespace sterna::run
