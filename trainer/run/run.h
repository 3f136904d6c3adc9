#pragma once

#include <cmath>
#include <memory>
#include <string>

#include "trainer/io/tensorboard.h"
#include "trainer/run/average.h"
#include "trainer/run/evaluate.h"
#include "trainer/run/log.h"
#include "trainer/run/optimizer.h"
#include "trainer/run/run_folder.h"
#include "trainer/run/saver.h"
#include "trainer/run/session.h"
#include "trainer/run/sharing.h"

namespace sterna::run {

/// How far a run has come: what a checkpoint's manifest keeps beside the tensors.
struct RunState {
  std::string stage = "blockwise";  ///< or "train"
  int64_t block = 0;                ///< complete blocks
  int64_t step = 0;                 ///< complete attempts
  int64_t skipped = 0;              ///< attempts dropped for NaN or Inf
  int64_t bad_in_row = 0;
  double best = 0;  ///< lowest perplexity so far; 0: none
  int64_t best_step = 0;
  std::string saved;  ///< newest checkpoint's folder name; empty before the first

  bool untouched() const { return stage == "blockwise" && block == 0; }

  void note_perplexity(double perplexity, int64_t of_step) {
    if (!std::isfinite(perplexity) || (best > 0 && perplexity >= best))
      return;
    best = perplexity;
    best_step = of_step;
  }
};

/// A run under way: what its stages share. train.cpp says in which order they come.
struct Run {
  /// @param loaded  with its models; session, folder and progress outlive the Run
  Run(const recipes::Recipe& recipe, Session& loaded, const RunFolder& place, Progress& shown);

  std::filesystem::path checkpoint() const { return folder.path() / "checkpoints" / state.saved; }

  dist::World& world() const { return *session.world; }

  /// True on the rank that writes the run's folder.
  bool leads() const { return world().rank() == 0; }

  Session& session;
  const RunFolder& folder;
  Progress& progress;
  std::string resolved;  ///< the recipe with every default, TOML
  Evaluator evaluator;
  Optimizer optimizer;
  std::unique_ptr<Average> average;  ///< null without train.ema, and before the end-to-end stage
  std::unique_ptr<Ranges> ranges;    ///< likewise without kd.range
  std::unique_ptr<Sharing> sharing;  ///< null before share_out()
  RunState state;
  Saver saver;
  double save_ms = 0;            ///< what checkpoints have taken since the last step
  bool rounded = false;          ///< the quantizers have set themselves by the source's weights
  std::unique_ptr<JsonLog> log;  ///< set by begin() or resume(), where the rank leads
  std::unique_ptr<io::TensorboardWriter> board;  ///< likewise
};

// ---- resume.cpp: where a run starts

/// Refuses a folder that cannot be begun in, or resumed from; before weights are read.
/// A run to resume is there: train() looks before it takes the folder.
/// @throws recipes::UserError  it holds a run already, or that of another recipe
void require_folder(const recipes::Recipe& recipe, const RunFolder& folder, bool resuming);

/// Writes the resolved recipe: from then on there is a run to resume.
void keep_recipe(const recipes::Recipe& recipe, const RunFolder& folder);

/// Starts a new run.
void begin(Run& run);

/// Goes back to the newest checkpoint that holds: sets those behind it aside, takes back what was
/// logged and evaluated behind it. The student still holds the source's weights.
/// @throws recipes::UserError  where models, tokenizer or data are no longer the same
void resume(Run& run);

/// Rounds the source's weights for the first time, unless that was done.
void round_weights(Run& run);

/// Gives the student the weights that the run goes on from: the checkpoint's, or the rounded ones.
void restore(Run& run);

/// Begins the average of train.ema where the student stands; does nothing where there is one.
void begin_average(Run& run);

/// Sets up the losses of kd.range: by the masters, or, amid the end-to-end stage, as the checkpoint
/// that the run goes on from has them.
void begin_ranges(Run& run);

/// Gives the matrices that a stage of [quant] is for the quantizers of that step's stage, and
/// forgets what belonged to those before.
/// @param init  as for Student::replace_quantizers()
void change_plan(Run& run, int64_t step, bool init);

// ---- saving.cpp: what it leaves behind to start from

/// Writes a checkpoint of where the run stands, unless it is there, and drops those not kept. Every
/// rank calls it and writes what it holds; all that is under way is complete afterwards.
void save(Run& run);

/// As save(); with train.checkpoint_async only the tensors are copied now, and a thread writes them
/// while the run goes on.
void save_behind(Run& run);

/// Carries on with what save_behind() began: to its end, or as far as it goes without waiting.
/// @throws recipes::UserError  where it could not be written
void look_after_saving(Run& run, bool wait);

// ---- stages.cpp: each goes on from where the run stands
// @throws Interrupted  with the run's state that of the last complete block or step

/// Evaluates the source's model in full precision and rounded, where that was not done yet; must
/// come before restore().
void baseline(Run& run);

/// Trains block after block.
void blockwise(Run& run);

/// Trains the whole model.
void end_to_end(Run& run);

// ---- share_run.cpp

/// Leaves this rank what `[dist]` says of student, optimizer, average and teacher; from here on all
/// ranks step, evaluate and save together. Comes behind resume() where ranks load no more than
/// their rows (load_shares.h), else before the first step.
void share_out(Run& run);

// ---- finish.cpp: what is made of the last checkpoint, without the models in memory

/// Export and certificate where the recipe names a format, and the closing table.
/// @throws Interrupted  before an export has its name
void finish(recipes::Recipe& recipe,
            const RunFolder& folder,
            const std::filesystem::path& checkpoint,
            Progress& progress);

}  // namespace sterna::run
