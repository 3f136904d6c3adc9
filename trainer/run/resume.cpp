#include <sstream>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"
#include "trainer/run/summary.h"
#include "trainer/run/together.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using recipes::UserError;

std::string text_of(const recipes::Recipe& recipe) {
  std::ostringstream text;
  recipe.write(text);
  return text.str();
}

void require_same_inputs(const Run& run, const model::Manifest& stored) {
  for (const auto& [what, hash] : run.session.hashes) {
    const auto before = stored.hashes.find(what);
    if (before == stored.hashes.end() || before->second == hash)
      continue;  // older manifests know neither source nor teacher
    throw UserError("--resume continues the same run, but its " + what +
                    " is no longer what it was: " + what + " hash " + before->second + " in " +
                    run.folder.path().string() + ", " + hash +
                    " now. Restore it, or start a new run under another run.name.");
  }
}

/// Gives a checkpoint a name under which it counts neither as newest nor as one to be pruned.
fs::path set_aside(const fs::path& checkpoint) {
  const fs::path name = checkpoint.parent_path() / ("torn-" + checkpoint.filename().string());
  fs::path free = name;
  for (int i = 2; fs::exists(free); ++i)
    free = name.string() + "." + std::to_string(i);
  fs::rename(checkpoint, free);
  return free;
}

/// The newest checkpoint that holds. What does not hold is kept: it may be worth mending, or have
/// been out of reach for a moment only.
fs::path look_for_sound_checkpoint(Run& run) {
  std::vector<std::string> torn;
  std::vector<fs::path> all = model::checkpoints_of_run(run.folder.path());
  const fs::path checkpoint = model::newest_checkpoint(run.folder.path(), torn);
  for (const std::string& message : torn) {
    run.progress.line("WARNING: " + message + "; set aside as " + set_aside(all.back()).string());
    all.pop_back();
  }
  if (checkpoint.empty() && !torn.empty())
    run.progress.line("WARNING: no checkpoint of this run holds: it starts anew");
  return checkpoint;
}

/// Rank 0 looks, and all take its word.
fs::path sound_checkpoint(Run& run) {
  dist::World& world = *run.session.world;
  const std::string name = Errand::run(world, [&] {
    return world.rank() == 0 ? look_for_sound_checkpoint(run).filename().string() : std::string();
  });
  return name.empty() ? fs::path() : run.folder.path() / "checkpoints" / name;
}

void take_up(Run& run, const fs::path& checkpoint) {
  const model::Manifest manifest = model::read_manifest(checkpoint);
  require_same_inputs(run, manifest);
  const auto number = [&](const char* name) {
    return static_cast<int64_t>(manifest.state.at(name));
  };
  RunState& s = run.state;
  s.stage = manifest.stage;
  s.block = number("blocks");
  s.step = s.stage == "train" ? manifest.step : 0;
  s.skipped = number("skipped");
  s.bad_in_row = number("bad_in_row");
  s.best = manifest.state.at("best");
  s.best_step = number("best_step");
  s.saved = checkpoint.filename();
  run.optimizer.set_applied(number("applied"));
}

/// What the run has not done yet it must not have logged or evaluated.
void take_back(const Run& run) {
  const RunState& s = run.state;
  // A line that a crash or a disk spoilt holds no number there.
  const auto number = [](const json& line, const char* key, int64_t fallback) {
    const auto found = line.find(key);
    return found == line.end()          ? fallback
           : found->is_number_integer() ? found->get<int64_t>()
                                        : INT64_MAX;
  };
  JsonLog::truncate(run.folder.log(), [&](const json& line) {
    const auto stage = line.find("stage");
    return stage != line.end() && *stage == "train" ? number(line, "step", 0) <= s.step
                                                    : number(line, "block", -1) < s.block;
  });
  drop_evaluations_behind(run.folder.path(),
                          s.stage == "train" ? "step-" + std::to_string(s.step) : "ptq");
}

/// The best step by what is evaluated: a manifest is older than the evaluation of its own step.
/// Where eval settings changed, the old figures do not count any more; the checkpoint that was best
/// by them stays until the first new one.
void recall_best(Run& run) {
  RunState& s = run.state;
  if (!run.evaluator.wanted())
    return;
  const std::string& conditions = run.evaluator.conditions(0);
  bool changed = false;
  s.best = 0;
  for (const SummaryRow& row : read_summary(run.folder.path())) {
    if (!row.stage.starts_with("step-"))
      continue;
    for (const SummaryRow::Cell& cell : row.cells) {
      if (cell.text != run.session.texts.front().name)
        continue;
      if (cell.conditions.empty() || cell.conditions == conditions)
        s.note_perplexity(cell.ppl, std::stoll(row.stage.substr(5)));
      else
        changed = true;
    }
  }
  if (changed)
    run.progress.line(
        "eval settings differ from those of earlier evaluations: perplexities from "
        "before do not compare, and the best step is looked for anew");
}

void open_logs(Run& run) {
  run.log = std::make_unique<JsonLog>(run.folder.log());
  run.board = std::make_unique<io::TensorboardWriter>(run.folder.path() / "tensorboard");
}

/// Rank 0 clears away what the run has not done yet; the others come behind it.
void resume_here(Run& run, const fs::path& checkpoint) {
  if (!checkpoint.empty())
    take_up(run, checkpoint);
  run.progress.line("resuming " + run.folder.path().string() + " from " +
                    (checkpoint.empty() ? "the start" : run.state.saved));
  if (run.leads()) {
    // Some keys may change, and whoever reads the folder later asks its recipe.
    io::write_atomically(run.folder.recipe(), run.resolved);
    take_back(run);
  }
  recall_best(run);
  if (run.leads()) {
    open_logs(run);
    run.board->restart(run.state.step + 1);
  }
}

}  // namespace

Run::Run(const recipes::Recipe& recipe, Session& loaded, const RunFolder& place, Progress& shown)
    : session(loaded),
      folder(place),
      progress(shown),
      resolved(text_of(recipe)),
      evaluator(loaded, place),
      optimizer(loaded.settings.train.adam(), loaded.settings.train.clip),
      saver(place.path(), *loaded.world) {}

void require_folder(const recipes::Recipe& recipe, const RunFolder& folder, bool resuming) {
  const bool used = fs::exists(folder.log()) || !model::checkpoints_of_run(folder.path()).empty();
  if (!resuming && used)
    throw UserError(folder.path().string() +
                    ": holds a run already; --resume continues it, or choose another run.name");
  if (!resuming)
    return;
  const std::string text = io::read_text(folder.recipe());
  if (text.empty())
    throw UserError(folder.recipe().string() +
                    ": the file is empty; every checkpoint's manifest.json holds a copy as "
                    "\"recipe\": write it there, or start a new run under another run.name");
  recipes::Recipe stored = recipes::Recipe::parse(text, folder.recipe().string());
  read_all_sections(stored);
  require_same_recipe(stored, recipe);
}

void keep_recipe(const recipes::Recipe& recipe, const RunFolder& folder) {
  io::write_atomically(folder.recipe(), text_of(recipe));
}

void begin(Run& run) {
  if (run.leads())
    open_logs(run);
}

void resume(Run& run) {
  const fs::path checkpoint = sound_checkpoint(run);
  rank_0_first(run.world(), [&] { resume_here(run, checkpoint); });
}

void round_weights(Run& run) {
  if (!run.rounded)
    run.session.student->init_quantizers();
  run.rounded = true;
}

void begin_average(Run& run) {
  const double keep = run.session.settings.train.ema;
  if (keep > 0 && !run.average)
    run.average = std::make_unique<Average>(*run.session.student, keep);
}

void begin_ranges(Run& run) {
  if (!run.session.ranges.wanted())
    return;
  run.ranges = std::make_unique<Ranges>(run.session.ranges, *run.session.student);
  if (run.state.step == 0)
    return;
  const model::CheckpointTensors stored(run.checkpoint(), model::read_manifest(run.checkpoint()));
  run.ranges->restore(read_held(stored, "quant", *run.session.student), run.checkpoint().string());
}

void change_plan(Run& run, int64_t step, bool init) {
  const quant::Plan plan = run.session.plan.at(step);
  const auto changes = [&](const model::Parameter& parameter) {
    return plan.is_default(model::module_of(parameter.name), model::place_of(parameter));
  };
  const auto quantizer_of = [&](const model::Parameter& parameter) {
    return model::build_quantizer(plan, parameter);
  };
  Student& student = *run.session.student;
  for (const model::Parameter& parameter : student.decoder().parameters()) {
    const std::string own = model::quantizer_tensor(parameter.name, "");
    if (parameter.matrix && changes(parameter))
      std::erase_if(run.optimizer.moments(),
                    [&](const auto& each) { return each.first.starts_with(own); });
  }
  student.replace_quantizers(quantizer_of, changes, init);
  run.average.reset();  // it would mix scales of different grids
}

void restore(Run& run) {
  if (run.state.saved.empty())
    return round_weights(run);
  const fs::path checkpoint = run.checkpoint();
  const model::Manifest manifest = model::read_manifest(checkpoint);
  const int64_t step = model::step_of_plan(manifest);
  if (run.session.plan.stage_at(step) > 0)
    change_plan(run, step, /*init=*/false);
  restore_checkpoint(checkpoint, manifest, *run.session.student, run.optimizer);
  // The average is one of what is trained: of scales alone once codes are held.
  if (manifest.step > 0 && run.session.settings.train.only == "scales")
    run.session.student->hold_codes();
  const model::CheckpointTensors tensors(checkpoint, manifest);
  if (!tensors.names("ema").empty()) {
    begin_average(run);
    run.average->restore(read_held(tensors, "ema", *run.session.student), checkpoint.string());
  }
}

}  // namespace sterna::run
