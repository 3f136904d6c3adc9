#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

std::map<std::string, double> numbers_of(const Run& run) {
  const RunState& s = run.state;
  std::map<std::string, double> numbers = {
      {"blocks", static_cast<double>(s.block)},
      {"skipped", static_cast<double>(s.skipped)},
      {"bad_in_row", static_cast<double>(s.bad_in_row)},
      {"applied", static_cast<double>(run.optimizer.applied())},
      {"best", s.best},
      {"best_step", static_cast<double>(s.best_step)}};
  for (const auto& [name, moments] : run.optimizer.moments())
    if (moments.applied != run.optimizer.applied())
      numbers[kAppliedTo + name] = static_cast<double>(moments.applied);
  if (run.average && run.session.settings.train.ema_use)
    numbers[model::kUsesAverage] = 1;
  return numbers;
}

model::Manifest manifest_of(const Run& run) {
  model::Manifest manifest;
  manifest.stage = run.state.stage;
  manifest.step = run.state.stage == "train" ? run.state.step : run.state.block;
  manifest.source = fs::absolute(run.session.settings.model.path);
  manifest.recipe = run.resolved;
  manifest.hashes = run.session.hashes;
  manifest.state = numbers_of(run);
  return manifest;
}

std::string checkpoint_name(const RunState& s) {
  const bool steps = s.stage == "train";
  return (steps ? "step-" : "block-") + std::to_string(steps ? s.step : s.block);
}

void carry_on(Run& run, bool wait) {
  const std::string saved = run.saver.carry_on(wait);
  if (!saved.empty())
    run.state.saved = saved;
}

void begin_saving(Run& run, bool copy) {
  carry_on(run, /*wait=*/true);
  const RunState& s = run.state;
  if (checkpoint_name(s) == s.saved)
    return;
  const TrainConfig& config = run.session.settings.train;
  const bool keep_best = config.keep_best && s.best_step > 0;
  run.saver.begin(
      manifest_of(run),
      parts_of({*run.session.student, run.optimizer, run.average.get(), run.ranges.get()}),
      {config.keep_last, keep_best ? "step-" + std::to_string(s.best_step) : ""},
      copy);
}

}  // namespace

void save(Run& run) {
  begin_saving(run, /*copy=*/false);
  carry_on(run, /*wait=*/true);
}

void save_behind(Run& run) {
  if (!run.session.settings.train.checkpoint_async)
    return save(run);
  if (run.saver.under_way() != checkpoint_name(run.state))
    begin_saving(run, /*copy=*/true);
}

void look_after_saving(Run& run, bool wait) {
  carry_on(run, wait);
}

}  // namespace sterna::run
