// A run from its recipe to its closing table. The rooms behind these lines: session.cpp (what is
// loaded), resume.cpp (where it starts), stages.cpp (what is trained), finish.cpp (what is made of
// it); one step of training is step.cpp, one block of the block-wise stage blockwise.cpp.
#include "trainer/run/train.h"

#include "trainer/run/bits.h"
#include "trainer/run/estimate.h"
#include "trainer/run/run.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

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
  }
}

/// @return  false where a signal came first
bool taught_ahead(Session& session, Progress& progress) {
  try {
    teach_ahead(session, progress);
    return true;
  } catch (const Interrupted& signal) {
    progress.line(std::string(signal.what()) +
                  ": what the teacher has said is kept, and the same command goes on from it");
    return false;
  }
}

/// @return  false where a signal came before all was delivered
bool deliver_run(recipes::Recipe& recipe,
                 const RunFolder& folder,
                 const fs::path& checkpoint,
                 Progress& progress) {
  try {
    finish(recipe, folder, checkpoint, progress);
    return true;
  } catch (const Interrupted& signal) {
    progress.line(std::string(signal.what()) + ": trained, not exported; --resume exports " +
                  checkpoint.string());
    return false;
  }
}

/// What can be refused before a folder is made for it.
fs::path place_of_run(recipes::Recipe& recipe, const RunConfig& run, bool resuming) {
  if (run.name.empty())
    recipe.section("run").fail("name", "is empty; every run has a folder");
  const fs::path place = fs::path(run.dir) / run.name;
  if (resuming && !fs::exists(place / "recipe.toml"))
    throw recipes::UserError(place.string() + ": no run to resume (no recipe.toml)");
  return place;
}

void announce(Run& run) {
  for (const std::string& remark : run.session.remarks)
    run.progress.line(remark);
  for (const std::string& line : estimate(run.session))
    run.progress.line(line);
}

}  // namespace

TrainEnd train(recipes::Recipe& recipe, const TrainOptions& options) {
  auto session = std::make_unique<Session>(open_session(recipe));
  const RunFolder folder(place_of_run(recipe, session->settings.run, options.resume));
  Progress progress(options.out, options.columns);
  if (session->bit_tokens.defined()) {
    give_bits(recipe, *session, {folder, options.resume, progress});
    session = std::make_unique<Session>(open_session(recipe));
  }
  require_folder(recipe, folder, options.resume);
  const SignalWatch watch;
  if (!taught_ahead(*session, progress))
    return {/*stopped_early=*/true, folder.path()};
  load_models(*session);
  fs::path last;
  {
    Run run(recipe, *session, folder, progress);
    options.resume ? resume(run) : begin(run);
    announce(run);
    if (!train_stages(run))
      return {/*stopped_early=*/true, folder.path()};
    last = run.checkpoint();
  }
  // Models, gradients and moments go before the checkpoint is read back: it is a model of its own.
  session.reset();
  const bool delivered = deliver_run(recipe, folder, last, progress);
  return {/*stopped_early=*/!delivered, folder.path()};
}

}  // namespace sterna::run
