#include "trainer/run/session_checks.h"

#include "trainer/eval/continue.h"
#include "trainer/model/activations.h"
#include "trainer/model/adapters.h"
#include "trainer/model/plan_fits.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/same_tokens.h"

namespace sterna::run {
namespace {

using recipes::UserError;

void require_positions(const model::CheckpointInfo& source, const char* key, int64_t seq_len) {
  if (source.config.max_positions > 0 && seq_len > source.config.max_positions)
    throw UserError(std::string(key) + ": " + std::to_string(seq_len) + " tokens, but " +
                    source.path.string() + " was made for at most " +
                    std::to_string(source.config.max_positions) +
                    " positions; set it to that or less");
}

/// Only a block that is run again needs no more than its input kept.
void require_offload(const Settings& s) {
  if (s.memory.offload == "activations" && s.train.steps > 0 && !s.train.recompute)
    throw UserError(
        "memory.offload: \"activations\" keeps the inputs of blocks in host memory, from which "
        "backward computes what lies inside them again; found train.recompute=false, which keeps "
        "that too: set train.recompute=true, or memory.offload=\"\"");
}

/// Every length that a model will see.
void require_positions(const Settings& s, const model::CheckpointInfo& source) {
  if (s.train.steps > 0)
    require_positions(source, "train.seq_len", s.train.seq_len);
  if (s.blockwise_wanted())
    require_positions(source, "blockwise.seq_len", s.blockwise_seq_len());
  if (!s.eval.text.empty())
    require_positions(source, "eval.window", s.eval.window);
}

void require_same_blocks(const std::string& what,
                         const model::DecoderConfig& student,
                         const model::DecoderConfig& teacher) {
  if (teacher.layers != student.layers || teacher.width != student.width)
    throw UserError("teacher.path: " + what + " goes block by block; expected the student's " +
                    std::to_string(student.layers) + " blocks of width " +
                    std::to_string(student.width) + ", found " + std::to_string(teacher.layers) +
                    " of width " + std::to_string(teacher.width));
}

/// A pattern that freezes nothing is a typo that would train what should stay.
void require_freezable(model::Decoder& decoder, const std::vector<std::string>& patterns) {
  std::vector<std::string> names = {"lm_head.weight"};  // a tied head is the embedding
  for (const model::Parameter& parameter : decoder.parameters())
    names.push_back(parameter.name);
  for (const std::string& pattern : patterns) {
    const bool found = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return freezes(pattern, name);
    });
    if (!found)
      throw UserError("train.freeze: '" + pattern +
                      "' matches no parameter of the model; names are Hugging Face's, such as " +
                      names.back());
  }
}

void require_prompts(const Session& session) {
  for (const std::string& prompt : session.settings.eval.prompts) {
    try {
      eval::require_prompt(eval::prompt_ids(*session.tokenizer, prompt), session.source.config);
    } catch (const UserError& error) {
      throw UserError("eval.prompts: '" + prompt + "': " + error.what());
    }
  }
}

/// What student and teacher go side by side for.
void require_lockstep(const Session& session) {
  const distill::HiddenLoss& hidden = session.objective->hidden();
  const distill::Intervention& swaps = session.objective->intervention();
  if (session.settings.train.steps == 0 || (!hidden.wanted() && !swaps.wanted()))
    return;
  require_same_blocks(hidden.wanted() ? "kd.hidden" : "kd.intervention",
                      session.source.config,
                      session.teacher_source.config);
  if (hidden.wanted())
    hidden.require_matches(distill::hidden_sites(session.source.config.layers));
  if (!swaps.wanted())
    return;
  if (swaps.mode() != "output")
    throw UserError("kd.intervention.mode = \"" + swaps.mode() +
                    "\": the teacher's attention maps and contexts cannot stand in for a "
                    "decoder's yet; use \"output\"");
  if (session.settings.train.recompute)
    throw UserError(
        "train.recompute runs blocks twice, for which the teacher's outputs of all blocks would "
        "have to be kept: set train.recompute=false, or kd.intervention.steps=0");
}

/// Rules must name what is packed: matrices of blocks, in one way from the first step to the last.
void require_packable(const Session& session) {
  const quant::Plan& plan = session.teacher_plan;
  if (plan.stages_end() > 0)
    throw UserError("teacher.quant: a teacher has no stages; remove teacher.quant.stage");
  if (plan.budget().wanted())
    throw UserError(
        "teacher.quant: budget_bits is for the student; give the teacher's bits by "
        "teacher.quant.weight and teacher.quant.rule");
  model::Decoder shapes(session.teacher_source.config, at::kFloat);
  for (const model::Parameter& parameter : shapes.parameters()) {
    if (parameter.matrix && model::place_of(parameter) == quant::Place::kOutside &&
        plan.scheme_of(model::module_of(parameter.name), quant::Place::kOutside) != "none")
      throw UserError("teacher.quant: " + model::module_of(parameter.name) +
                      " is used whole and stays in teacher.dtype; let no rule match it");
  }
  try {
    model::require_plan_fits(plan, shapes);
  } catch (const recipes::RecipeError&) {
    throw;
  } catch (const UserError& error) {
    throw UserError("teacher.quant: " + std::string(error.what()));
  }
}

/// What a teacher in memory is needed for cannot be had from what it said once.
void require_cacheable(const Session& session) {
  const TeacherConfig& teacher = session.settings.teacher;
  const std::string said = "teacher.cache: \"" + teacher.cache + "\" ";
  if (session.settings.blockwise_wanted())
    throw UserError(said +
                    "holds nothing for the block-wise stage; make that a run of its own, and start "
                    "this one from it with model.path, or set teacher.cache=none");
  if (session.objective->hidden().wanted() || session.objective->intervention().wanted())
    throw UserError(said +
                    "holds no layers, which kd.hidden and kd.intervention compare; remove them, or "
                    "set teacher.cache=none");
  if (teacher.cache != "topk")
    return;
  if (!session.objective->takes_top_words())
    throw UserError(said +
                    "tells too little for these terms of kd.loss: it serves kl, reverse_kl, jsd "
                    "and cakld at temperature 1 with weighting uniform; take "
                    "teacher.cache=hidden");
  if (teacher.top_k >= session.teacher_source.config.vocab)
    throw UserError("teacher.top_k: " + std::to_string(teacher.top_k) +
                    " words of a vocabulary of " +
                    std::to_string(session.teacher_source.config.vocab) +
                    " leave no rest; give fewer, or take teacher.cache=hidden");
}

/// Codes can only be held where a scale is a parameter of its own.
void require_scales(const Session& session, model::Decoder& shapes) {
  if (session.settings.train.only != "scales")
    return;
  if (session.plan.stages_end() > 0)
    throw UserError("train.only: \"scales\" holds codes, which quant.stage changes; remove one");
  bool any = false;
  for (const model::Parameter& p : shapes.parameters()) {
    const std::string scheme =
        p.matrix ? session.plan.scheme_of(model::module_of(p.name), model::place_of(p)) : "none";
    if (scheme != "none" && scheme != "affine_learned")
      throw UserError(
          "train.only: \"scales\" needs affine_learned, which has a scale to train; found " +
          scheme + " for " + p.name);
    any = any || scheme != "none";
  }
  if (!any)
    throw UserError("train.only: no matrix is quantized, so there are no scales to train");
}

/// The last stage must leave steps to quant.weight, which is what is exported.
void require_stages(const Session& session, model::Decoder& shapes) {
  const quant::Plan& plan = session.plan;
  model::require_plan_fits(plan, shapes);
  const int64_t end = plan.stages_end();
  if (end == 0)
    return;
  if (end >= session.settings.train.steps)
    throw UserError("quant.stage: the last stage ends at step " + std::to_string(end) +
                    ", but train.steps = " + std::to_string(session.settings.train.steps) +
                    " leaves none to quant.weight itself; train longer or end it earlier");
  for (int64_t step = 0, stage = -1; step < end; ++step) {
    if (static_cast<int64_t>(plan.stage_at(step)) == stage)
      continue;
    stage = static_cast<int64_t>(plan.stage_at(step));
    model::require_plan_fits(plan.at(step), shapes);
  }
}

/// Ranges that are learned are learned in the end-to-end stage.
void require_ranges(const Session& session, model::Decoder& shapes) {
  model::attach_activations(shapes, session.activations);
  if (session.settings.train.steps > 0)
    return;
  try {
    model::require_ready(shapes);
  } catch (const UserError& error) {
    throw UserError(std::string("train.steps: without end-to-end steps nothing learns ranges; ") +
                    error.what());
  }
}

}  // namespace

void require_pairs(const Session& session) {
  const bool pairs = session.samples->together() == 2;
  if (session.objective->dpo().wanted() && !pairs)
    throw UserError(
        "kd.dpo: prefers one of two answers, but [data] has no pairs of them; set "
        "data.format=preference");
  if (pairs && !session.objective->dpo().wanted())
    throw UserError(
        "data.format: \"preference\" is of two answers to a prompt, and nothing in [kd] prefers "
        "one; set kd.dpo={}, or data.format=pairs with data.response=\"chosen\"");
  if (pairs && session.settings.train.batch % 2 != 0)
    throw UserError("train.batch: " + std::to_string(session.settings.train.batch) +
                    " samples part the two answers to a prompt; give an even number");
}

void require_fitting_models(const Session& session) {
  require_positions(session.settings, session.source);
  require_prompts(session);
  if (session.needs_teacher)
    model::require_same_tokens(
        session.source, *session.tokenizer, session.teacher_source, "teacher.path");
  require_fitting_shapes(session);
}

void require_fitting_shapes(const Session& session) {
  const Settings& s = session.settings;
  require_positions(s, session.source);
  require_offload(s);
  if (session.needs_teacher)
    require_positions(s, session.teacher_source);
  if (s.blockwise_wanted())
    require_same_blocks("[blockwise]", session.source.config, session.teacher_source.config);
  require_lockstep(session);
  if (session.needs_teacher && !session.teacher_plan.empty())
    require_packable(session);
  if (session.caches_teacher())
    require_cacheable(session);
  if (!session.adapters.empty() && !s.train.only.empty())
    throw UserError("train.only = \"" + s.train.only +
                    "\" would leave the adapters of [adapter] untrained; "
                    "remove one of them");
  model::Decoder shapes(session.source.config, at::kFloat);
  model::attach_adapters(shapes, session.adapters);
  require_freezable(shapes, s.train.freeze);
  session.ranges.require_matches(model::quantizable_modules(shapes));
  require_stages(session, shapes);
  require_scales(session, shapes);
  require_ranges(session, shapes);
}

}  // namespace sterna::run
