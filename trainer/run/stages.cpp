#include <chrono>
#include <cmath>
#include <utility>

#include <nlohmann/json.hpp>

#include "distill/confidence.h"
#include "trainer/run/blockwise.h"
#include "trainer/run/run.h"
#include "trainer/run/signals.h"
#include "trainer/run/step_log.h"
#include "trainer/run/stopwatch.h"
#include "trainer/run/together.h"

namespace sterna::run {
namespace {

using recipes::UserError;

double unix_time() {
  using std::chrono::system_clock;
  return std::chrono::duration<double>(system_clock::now().time_since_epoch()).count();
}

void write_block(Run& run, const BlockReport& report) {
  if (run.leads())
    run.log->write({{"stage", "blockwise"},
                    {"block", report.block},
                    {"steps", report.steps},
                    {"error_before", report.error_before},
                    {"error_after", report.error_after},
                    {"stable", report.stable},
                    {"quant_ms", report.quant_ms},
                    {"train_ms", report.train_ms},
                    {"block_ms", report.total_ms},
                    {"peak_rss_mib", process_memory().peak}});
  run.progress.step(run.state.block,
                    "error " + short_number(report.error_before, 3) + " -> " +
                        short_number(report.error_after, 3) + "  " +
                        short_number(report.total_ms / 1e3, 3) + " s");
}

void write_step(Run& run, const StepReport& report, const LogContext& context) {
  const int64_t step = run.state.step;
  if (run.leads()) {
    run.log->write(step_line(step, report, run.state.skipped, context));
    std::vector<std::pair<std::string, double>> scalars{
        {"loss", report.loss}, {"lr", report.rates.lr}, {"grad_norm", report.outcome.grad_norm}};
    for (size_t i = 0; i < context.terms.size(); ++i)
      scalars.emplace_back("loss/" + context.terms[i], report.losses[i]);
    run.board->scalars(step, scalars, unix_time());
  }
  run.progress.step(step, step_text(report, context));
  if (!report.outcome.applied)
    run.progress.line("WARNING: step " + std::to_string(step) + " skipped: NaN or Inf in " +
                      report.outcome.bad_tensor);
}

void one_step(Run& run, Step& step, const LogContext& context) {
  RunState& s = run.state;
  StepReport report = step.run(s.step);
  report.ms.save = std::exchange(run.save_ms, 0);
  ++s.step;
  if (report.outcome.applied && run.average)
    run.average->follow();
  s.bad_in_row = report.outcome.applied ? 0 : s.bad_in_row + 1;
  s.skipped += report.outcome.applied ? 0 : 1;
  write_step(run, report, context);
  if (s.bad_in_row < run.session.settings.train.max_bad_steps)
    return;
  save(run);
  throw UserError(
      "training stopped at step " + std::to_string(s.step) + ": " + std::to_string(s.bad_in_row) +
      " steps in a row had NaN or Inf, first in " + report.outcome.bad_tensor +
      "; start a new run from the last good checkpoint (model.path=" + run.folder.path().string() +
      ") with a lower train.lr, a longer train.warmup or model.dtype=fp32");
}

/// Evaluates, says so, and gives the perplexity on the first text.
double report(Run& run, Subject subject) {
  const HeadsAtHand heads(run.sharing.get());
  subject.in_step = run.sharing && run.sharing->meets_in_forward();
  const std::vector<eval::EvalResult> results = run.evaluator.run(subject);
  for (size_t i = 0; i < results.size(); ++i)
    run.progress.line(subject.cell + ", " + run.session.texts[i].name + ": " + to_text(results[i]));
  return results.front().ppl;
}

/// Evaluates the student as it stands, or its average.
double evaluate(Run& run, const std::string& cell) {
  Student& student = *run.session.student;
  const AverageInPlace shown(run.session.settings.train.ema_use ? run.average.get() : nullptr);
  student.materialize();
  return report(run, {cell, student.decoder(), student.bits_per_weight()});
}

void evaluate_step(Run& run) {
  RunState& s = run.state;
  const std::string cell = "step-" + std::to_string(s.step);
  if (!run.evaluator.wanted() || run.evaluator.done(cell))
    return;
  const double ppl = evaluate(run, cell);
  if (run.leads())
    run.board->scalars(s.step, {{"eval/perplexity", ppl}}, unix_time());
  s.note_perplexity(ppl, s.step);
}

/// On the way between two steps: evaluation and checkpoints at their intervals.
void look_around(Run& run) {
  Stopwatch saving;
  look_after_saving(run, /*wait=*/false);
  saving.lap(run.save_ms);
  const Settings& settings = run.session.settings;
  const RunState& s = run.state;
  const auto due = [&](int64_t every) { return every > 0 && s.step % every == 0; };
  if (due(settings.eval.every)) {
    evaluate_step(run);
    saving.restart();
    if (settings.train.keep_best && s.best_step == s.step)
      save_behind(run);
  }
  if (due(settings.train.checkpoint_every))
    save_behind(run);
  saving.lap(run.save_ms);
}

void train_blocks(Run& run) {
  Session& session = run.session;
  RunState& s = run.state;
  const BlockwiseConfig& config = session.settings.blockwise;
  const int64_t blocks = session.source.config.layers;
  Blockwise stage({*session.student, *session.teacher, *session.block_samples, run.world()},
                  config);
  together(run.world(), [&] { stage.start(s.block); });
  run.progress.start("block", s.block, blocks, /*every=*/1);
  while (s.block < blocks) {
    const BlockReport block = stage.run([](int64_t, int64_t, double) {});
    ++s.block;
    if (!std::isfinite(block.error_after))
      throw UserError("block-wise stage: the error of block " + std::to_string(block.block) +
                      " is NaN or Inf; lower blockwise.lr and blockwise.lr_quant, or set "
                      "model.dtype=fp32");
    write_block(run, block);
    // A block takes minutes: it must not wait for the next one to have its name.
    if (config.checkpoint_every > 0 && s.block % config.checkpoint_every == 0 && s.block < blocks)
      save(run);
  }
}

/// Progressive bits: the quantizers of this step, set by the masters as they are now.
void enter_quant_stage(Run& run) {
  const quant::Plan& plan = run.session.plan;
  const int64_t step = run.state.step;
  if (step == 0 || plan.stage_at(step) == plan.stage_at(step - 1))
    return;
  // A checkpoint of this step is read with the quantizers that trained it. Behind the change it
  // could only be written with the new ones, at the first signal for example.
  save_behind(run);
  change_plan(run, step, /*init=*/true);
  run.sharing->follow_student();
  run.progress.line("step " + std::to_string(step) + ": weights are rounded anew, to " +
                    short_number(run.session.student->bits_per_weight(), 3) + " bits");
}

/// What some losses ask of the teacher before the first step. Measured on the run's first samples
/// wherever it was resumed, and by every rank on all of them.
void measure_teacher(Run& run) {
  Session& session = run.session;
  const TrainConfig& config = session.settings.train;
  const int64_t batches = session.objective->batches_to_measure();
  if (batches == 0)
    return;
  const auto mean_confidence = [&](const Inputs& inputs) {
    return session.cached_teacher ? session.cached_teacher->mean_confidence(inputs)
                                  : distill::mean_confidence(hidden_of(*session.teacher, inputs),
                                                             session.teacher->head_linear().weight);
  };
  const HeadsAtHand heads(run.sharing.get());
  const bool in_step = run.sharing->meets_in_forward();
  double sum = 0;
  together(run.world(), [&] {
    for (int64_t i = 0; i < batches; ++i) {
      in_step ? stop_together(run.world()) : SignalWatch::check();
      const Batch batch = load_batch(*session.samples, i * config.batch, config.batch);
      sum += mean_confidence(batch.inputs);
    }
  });
  const double confidence = sum / static_cast<double>(batches);
  session.objective->set_confidence(confidence);
  run.progress.line("the teacher's mean confidence is " + short_number(confidence, 4) + " (on " +
                    std::to_string(batches) + " micro-batches): kd.loss mixes by it");
}

}  // namespace

void baseline(Run& run) {
  const EvalConfig& config = run.session.settings.eval;
  if (!config.before || !run.evaluator.wanted())
    return;
  Student& student = *run.session.student;
  if (!run.evaluator.done(kFullPrecision)) {
    student.materialize_full_precision();
    const model::ActivationsOff off(student.decoder());
    report(run, {kFullPrecision, student.decoder()});
  }
  if (run.session.quantized() && !run.evaluator.done("ptq")) {
    round_weights(run);
    evaluate(run, "ptq");
  }
}

void blockwise(Run& run) {
  const Settings& settings = run.session.settings;
  RunState& s = run.state;
  if (settings.blockwise_wanted() && s.stage == "blockwise") {
    train_blocks(run);
    s.stage = "train";
    save(run);
  }
  s.stage = "train";
  const bool due = settings.blockwise_wanted() && settings.eval.after && s.step == 0;
  if (due && run.evaluator.wanted() && !run.evaluator.done("blockwise"))
    evaluate(run, "blockwise");
}

void end_to_end(Run& run) {
  Session& session = run.session;
  const Settings& settings = session.settings;
  RunState& s = run.state;
  if (s.step < settings.train.steps) {
    const model::Decoder* teacher =
        session.objective->needs_teacher() ? session.teacher.get() : nullptr;
    begin_ranges(run);
    if (settings.train.only == "scales")
      session.student->hold_codes();
    if (run.sharing)
      run.sharing->follow_student();  // a checkpoint, or held codes, may train something else
    else
      share_out(run);
    Step step({*session.student,
               teacher,
               *session.objective,
               *session.samples,
               run.optimizer,
               *session.world,
               session.cached_teacher.get(),
               run.ranges.get(),
               run.sharing.get(),
               settings.memory.offload == "activations"},
              settings.train);
    std::vector<std::string> terms = session.objective->term_names();
    if (run.ranges)
      terms.push_back(kRange);
    const LogContext context{terms,
                             step_flops(session.source.config,
                                        teacher == nullptr ? nullptr : &teacher->config(),
                                        settings.train.seq_len),
                             settings.train.peak_tflops,
                             session.device};
    run.progress.start("step", s.step, settings.train.steps, settings.train.log_every);
    measure_teacher(run);
    if (const int64_t end = session.objective->intervention().steps(); s.step < end)
      run.progress.line("teacher intervention up to step " + std::to_string(end));
    run.world().barrier();  // what came before may have taken one rank longer than another
    // The first look is for a resumed run, which may have been stopped in the midst of it.
    while (s.step < settings.train.steps) {
      if (s.step > 0)
        look_around(run);
      enter_quant_stage(run);
      begin_average(run);
      run.world().at_step(s.step);
      one_step(run, step, context);
    }
  }
  // Before the evaluation: whatever goes wrong there must not cost what was trained.
  save(run);
  if (s.step > 0 && settings.eval.after)
    evaluate_step(run);
}

}  // namespace sterna::run
