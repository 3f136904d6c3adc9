#include "trainer/run/train.h"

#include <chrono>
#include <cmath>
#include <sstream>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/tensorboard.h"
#include "trainer/run/blockwise.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/deliver.h"
#include "trainer/run/estimate.h"
#include "trainer/run/evaluate.h"
#include "trainer/run/log.h"
#include "trainer/run/run_folder.h"
#include "trainer/run/session.h"
#include "trainer/run/signals.h"
#include "trainer/run/step_log.h"
#include "trainer/run/summary.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using recipes::UserError;

/// A run under way: the loop of stages and what it writes.
class Run {
 public:
  Run(recipes::Recipe& recipe, const TrainOptions& options);
  TrainEnd go();

 private:
  void require_folder() const;
  void begin();
  void resume();
  void baseline();
  void blockwise();
  void end_to_end();
  bool one_step(Step& step, const LogContext& context);
  void evaluate(const std::string& cell);
  double report(const Subject& subject);
  void finish();
  void require_same_inputs(const model::Manifest& stored) const;
  void save(const std::string& stage, int64_t step);
  model::Manifest header(const std::string& stage, int64_t step) const;

  recipes::Recipe& recipe_;
  TrainOptions options_;
  Session session_;
  std::string resolved_;
  RunFolder folder_;
  Progress progress_;
  std::unique_ptr<JsonLog> log_;
  std::unique_ptr<io::TensorboardWriter> board_;
  std::unique_ptr<Evaluator> evaluator_;
  Optimizer optimizer_;
  std::string stage_ = "blockwise";
  int64_t block_ = 0;    ///< complete blocks
  int64_t step_ = 0;     ///< complete attempts
  int64_t skipped_ = 0;  ///< attempts dropped for NaN or Inf
  int64_t bad_in_row_ = 0;
  double best_ = 0;  ///< lowest perplexity so far; 0: none
  std::string best_name_;
  std::string saved_;  ///< newest checkpoint's folder name
};

fs::path folder_of(const Settings& settings) {
  return fs::path(settings.run.dir) / settings.run.name;
}

double unix_time() {
  using std::chrono::system_clock;
  return std::chrono::duration<double>(system_clock::now().time_since_epoch()).count();
}

std::string text_of(const recipes::Recipe& recipe) {
  std::ostringstream text;
  recipe.write(text);
  return text.str();
}

Run::Run(recipes::Recipe& recipe, const TrainOptions& options)
    : recipe_(recipe),
      options_(options),
      session_(open_session(recipe)),
      folder_(folder_of(session_.settings)),
      progress_(options.out, options.terminal, session_.settings.train.log_every),
      optimizer_(session_.settings.train.adam(), session_.settings.train.clip) {
  resolved_ = text_of(recipe_);
  require_folder();
  load_models(session_);
  evaluator_ = std::make_unique<Evaluator>(session_, folder_);
}

/// Refuses a folder that cannot be begun in, or resumed from, before weights are read.
void Run::require_folder() const {
  const bool used = fs::exists(folder_.log()) || !model::checkpoints_of_run(folder_.path()).empty();
  if (!options_.resume && used)
    throw UserError(folder_.path().string() +
                    ": holds a run already; --resume continues it, or choose another run.name");
  if (!options_.resume)
    return;
  if (!fs::exists(folder_.recipe()))
    throw UserError(folder_.path().string() + ": no run to resume (no recipe.toml)");
  recipes::Recipe stored =
      recipes::Recipe::parse(io::read_text(folder_.recipe()), folder_.recipe().string());
  read_all_sections(stored);
  require_same_recipe(stored, recipe_);
}

void Run::begin() {
  io::write_atomically(folder_.recipe(), resolved_);
  session_.student->init_quantizers();
}

void Run::resume() {
  std::vector<std::string> torn;
  const fs::path checkpoint = model::newest_checkpoint(folder_.path(), torn);
  for (const std::string& message : torn)
    progress_.line("WARNING: " + message + "; falling back to an older checkpoint");
  session_.student->init_quantizers();
  if (!checkpoint.empty()) {
    // What did not hold must not count as newest when old checkpoints are pruned.
    std::vector<fs::path> all = model::checkpoints_of_run(folder_.path());
    while (!all.empty() && all.back() != checkpoint) {
      fs::remove_all(all.back());
      all.pop_back();
    }
    const model::Manifest manifest = model::read_manifest(checkpoint);
    require_same_inputs(manifest);
    restore_checkpoint(checkpoint, manifest, *session_.student, optimizer_);
    const auto state = [&](const char* name) { return manifest.state.at(name); };
    stage_ = manifest.stage;
    block_ = static_cast<int64_t>(state("blocks"));
    step_ = stage_ == "train" ? manifest.step : 0;
    skipped_ = static_cast<int64_t>(state("skipped"));
    bad_in_row_ = static_cast<int64_t>(state("bad_in_row"));
    optimizer_.set_applied(static_cast<int64_t>(state("applied")));
    best_ = state("best");
    best_name_ =
        best_ > 0 ? "step-" + std::to_string(static_cast<int64_t>(state("best_step"))) : "";
    saved_ = checkpoint.filename();
  }
  progress_.line("resuming " + folder_.path().string() + " from " +
                 (saved_.empty() ? "the start" : saved_));
  JsonLog::truncate(folder_.log(), [&](const json& line) {
    return line.value("stage", "") == "train" ? line.value("step", int64_t{0}) <= step_
                                              : line.value("block", int64_t{-1}) < block_;
  });
}

void Run::require_same_inputs(const model::Manifest& stored) const {
  for (const auto& [what, hash] : header("", 0).hashes) {
    if (stored.hashes.at(what) != hash)
      throw UserError("--resume continues the same run, but its " + what +
                      " is no longer what it was: " + what + " hash " + stored.hashes.at(what) +
                      " in " + folder_.path().string() + ", " + hash +
                      " now. Restore it, or start a new run under another run.name.");
  }
}

model::Manifest Run::header(const std::string& stage, int64_t step) const {
  model::Manifest manifest;
  manifest.stage = stage;
  manifest.step = step;
  manifest.source = fs::absolute(session_.settings.model.path);
  manifest.recipe = resolved_;
  manifest.hashes["tokenizer"] = session_.tokenizer->fingerprint();
  const data::SampleSource* samples =
      session_.samples ? session_.samples.get() : session_.block_samples.get();
  manifest.hashes["data"] = samples->fingerprint();
  const std::string best_step = best_name_.empty() ? "0" : best_name_.substr(5);
  manifest.state = {{"blocks", static_cast<double>(block_)},
                    {"skipped", static_cast<double>(skipped_)},
                    {"bad_in_row", static_cast<double>(bad_in_row_)},
                    {"applied", static_cast<double>(optimizer_.applied())},
                    {"best", best_},
                    {"best_step", std::stod(best_step)}};
  return manifest;
}

void Run::save(const std::string& stage, int64_t step) {
  const std::string name = (stage == "train" ? "step-" : "block-") + std::to_string(step);
  if (name == saved_)
    return;
  saved_ = save_checkpoint(folder_.path(), header(stage, step), *session_.student, optimizer_)
               .filename();
  const TrainConfig& config = session_.settings.train;
  prune_checkpoints(folder_.path(), config.keep_last, config.keep_best ? best_name_ : "");
}

void Run::evaluate(const std::string& cell) {
  if (!evaluator_->wanted())
    return;
  session_.student->materialize();
  const double ppl =
      report({cell, session_.student->decoder(), session_.student->bits_per_weight()});
  if (!cell.starts_with("step-"))
    return;
  board_->scalars(step_, {{"eval/perplexity", ppl}}, unix_time());
  if (std::isfinite(ppl) && (best_ == 0 || ppl < best_)) {
    best_ = ppl;
    best_name_ = cell;
  }
}

/// Evaluates, says so, and gives the perplexity on the first text.
double Run::report(const Subject& subject) {
  const std::vector<eval::EvalResult> results = evaluator_->run(subject);
  for (size_t i = 0; i < results.size(); ++i)
    progress_.line(subject.cell + ", " + session_.settings.eval.text[i].filename().string() + ": " +
                   to_text(results[i]));
  return results.front().ppl;
}

void Run::baseline() {
  if (!session_.settings.eval.before || !evaluator_->wanted())
    return;
  session_.student->materialize_full_precision();
  report({kFullPrecision, session_.student->decoder()});
  if (session_.quantized())
    evaluate("ptq");
}

void Run::blockwise() {
  const int64_t blocks = session_.source.config.layers;
  const BlockwiseConfig& config = session_.settings.blockwise;
  Blockwise stage(*session_.student, *session_.teacher, *session_.block_samples, config);
  stage.start(block_);
  Progress progress(options_.out, options_.terminal, 1);
  progress.start("block", block_, blocks);
  while (block_ < blocks) {
    const BlockReport report = stage.run([](int64_t, int64_t, double) {});
    ++block_;
    if (!std::isfinite(report.error_after))
      throw UserError("block-wise stage: the error of block " + std::to_string(report.block) +
                      " is NaN or Inf; lower blockwise.lr and blockwise.lr_quant, or set "
                      "model.dtype=fp32");
    log_->write({{"stage", "blockwise"},
                 {"block", report.block},
                 {"steps", report.steps},
                 {"error_before", report.error_before},
                 {"error_after", report.error_after},
                 {"stable", report.stable},
                 {"quant_ms", report.quant_ms},
                 {"train_ms", report.train_ms},
                 {"block_ms", report.total_ms},
                 {"peak_rss_mib", process_memory().peak}});
    progress.step(block_,
                  "error " + short_number(report.error_before, 3) + " -> " +
                      short_number(report.error_after, 3) + "  " +
                      short_number(report.total_ms / 1e3, 3) + " s");
    if (config.checkpoint_every > 0 && block_ % config.checkpoint_every == 0 && block_ < blocks)
      save("blockwise", block_);
  }
}

bool Run::one_step(Step& step, const LogContext& context) {
  const TrainConfig& config = session_.settings.train;
  const StepReport report = step.run(step_);
  ++step_;
  bad_in_row_ = report.outcome.applied ? 0 : bad_in_row_ + 1;
  skipped_ += report.outcome.applied ? 0 : 1;
  log_->write(step_line(step_, report, skipped_, context));
  std::vector<std::pair<std::string, double>> scalars{
      {"loss", report.loss}, {"lr", report.rates.lr}, {"grad_norm", report.outcome.grad_norm}};
  for (size_t i = 0; i < context.terms.size(); ++i)
    scalars.emplace_back("loss/" + context.terms[i], report.losses[i]);
  board_->scalars(step_, scalars, unix_time());
  progress_.step(step_, step_text(report, context));
  if (bad_in_row_ < config.max_bad_steps)
    return true;
  save("train", step_);
  throw UserError(
      "training stopped at step " + std::to_string(step_) + ": " + std::to_string(bad_in_row_) +
      " steps in a row had NaN or Inf, first in " + report.outcome.bad_tensor +
      "; start a new run from the last good checkpoint (model.path=" + folder_.path().string() +
      ") with a lower train.lr, a longer train.warmup or model.dtype=fp32");
}

void Run::end_to_end() {
  const Settings& s = session_.settings;
  const bool teaches = session_.objective->needs_teacher();
  Step step({*session_.student,
             teaches ? session_.teacher.get() : nullptr,
             *session_.objective,
             *session_.samples,
             optimizer_,
             *session_.world},
            s.train);
  const LogContext context{
      session_.objective->term_names(),
      step_flops(
          session_.source.config, teaches ? &session_.teacher->config() : nullptr, s.train.seq_len),
      s.train.peak_tflops};
  progress_.start("step", step_, s.train.steps);
  while (step_ < s.train.steps) {
    one_step(step, context);
    const bool last = step_ == s.train.steps;
    if (s.eval.every > 0 && step_ % s.eval.every == 0 && !last) {
      evaluate("step-" + std::to_string(step_));
      if (s.train.keep_best && best_name_ == "step-" + std::to_string(step_))
        save("train", step_);
    }
    if (s.train.checkpoint_every > 0 && step_ % s.train.checkpoint_every == 0 && !last)
      save("train", step_);
  }
}

TrainEnd Run::go() {
  options_.resume ? resume() : begin();
  log_ = std::make_unique<JsonLog>(folder_.log());
  board_ = std::make_unique<io::TensorboardWriter>(folder_.path() / "tensorboard");
  const SignalWatch watch;
  const Settings& s = session_.settings;
  for (const std::string& remark : session_.remarks)
    progress_.line(remark);
  for (const std::string& line : estimate(session_))
    progress_.line(line);
  try {
    if (saved_.empty())
      baseline();
    if (s.blockwise_wanted() && stage_ == "blockwise") {
      blockwise();
      stage_ = "train";
      save("train", 0);
      if (s.eval.after)
        evaluate("blockwise");
    }
    stage_ = "train";
    if (step_ < s.train.steps)
      end_to_end();
    // Before the evaluation: whatever goes wrong there must not cost what was trained.
    save("train", step_);
    const std::string last = "step-" + std::to_string(step_);
    if (step_ > 0 && s.eval.after && !evaluator_->done(last))
      evaluate(last);
  } catch (const Interrupted& signal) {
    save(stage_, stage_ == "train" ? step_ : block_);
    progress_.line(std::string(signal.what()) + ": saved " + saved_ + "; --resume continues");
    return {/*stopped_early=*/true, folder_.path()};
  }
  finish();
  return {/*stopped_early=*/false, folder_.path()};
}

void Run::finish() {
  const fs::path checkpoint = folder_.path() / "checkpoints" / saved_;
  progress_.line("done: " + checkpoint.string());
  std::vector<SummaryRow> rows = read_summary(folder_.path());
  if (recipe_.section("export").has("format")) {
    const Delivery delivery = deliver(recipe_, folder_.path(), checkpoint);
    progress_.line(delivery.text);
    if (!rows.empty())
      rows.back().disk_bytes = delivery.bytes;
  }
  if (rows.empty())
    return;
  io::write_atomically(folder_.path() / "summary.txt", summary_text(rows));
  progress_.line("\n" + summary_text(rows));
}

}  // namespace

TrainEnd train(recipes::Recipe& recipe, const TrainOptions& options) {
  return Run(recipe, options).go();
}

}  // namespace sterna::run
