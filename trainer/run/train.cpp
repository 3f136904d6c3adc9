// A run from its recipe to its closing table. The rooms behind these lines: session.cpp (what is
// loaded), resume.cpp (where it starts), stages.cpp (what is trained), finish.cpp (what is made of
// it); one step of training is step.cpp, one block of the block-wise stage blockwise.cpp.
#include "trainer/run/train.h"

#include <algorithm>

#include "trainer/run/bits.h"
#include "trainer/run/estimate.h"
#include "trainer/run/run.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

/// What an error must not take along. A step changes weights at its very end, where nothing is left
/// for the user to mend; a block of the block-wise stage all along.
void save_what_is_complete(Run& run) noexcept {
  try {
    if (run.state.stage == "train" && run.state.step > 0)
      save(run);
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
  }
}

/// Measures which bits the recipe's budget buys, unless that was done, and opens the session anew.
/// @return  false where a signal came first
bool chose_bits(recipes::Recipe& recipe, std::unique_ptr<Session>& session, const BitsOf& of) {
  if (!session->bit_tokens.defined())
    return true;
  try {
    give_bits(recipe, *session, of);
  } catch (const Interrupted& signal) {
    of.progress.line(std::string(signal.what()) +
                     ": nothing is measured yet; --resume begins with that again");
    return false;
  }
  std::vector<std::string> remarks = std::move(session->remarks);
  session = std::make_unique<Session>(open_session(recipe));
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
  const SignalWatch watch;
  if (!chose_bits(recipe, session, {folder, options.resume, progress}))
    return {/*stopped_early=*/true, folder.path()};
  require_folder(recipe, folder, options.resume);
  if (!options.resume)  // so that what comes before the first step can be resumed as well
    keep_recipe(recipe, folder);
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
