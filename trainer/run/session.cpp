#include "trainer/run/session.h"

#include "quant/scale.h"
#include "recipes/glob.h"
#include "trainer/model/activations.h"
#include "trainer/model/adapters.h"
#include "trainer/model/identity.h"
#include "trainer/model/load_parts.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/weight_source.h"
#include "trainer/run/load_shares.h"

namespace sterna::run {
namespace {

using recipes::UserError;

// Keys that say what is looked at and how far, not what is computed.
constexpr const char* kFree[] = {"run.*",
                                 "eval.*",
                                 "export.*",
                                 "teacher.cache_dir",
                                 "verify.*",
                                 "dist.*",
                                 "memory.*",
                                 "train.steps",
                                 "train.log_every",
                                 "train.checkpoint_*",
                                 "train.keep_*",
                                 "train.max_bad_steps",
                                 "train.peak_tflops",
                                 "blockwise.checkpoint_every"};

std::map<std::string, std::string> hashes_of(const Session& session) {
  const data::SampleSource& samples = session.samples ? *session.samples : *session.block_samples;
  std::map<std::string, std::string> hashes = {{"tokenizer", session.tokenizer->fingerprint()},
                                               {"data", samples.fingerprint()},
                                               {"source", model::identity(session.source)}};
  if (session.needs_teacher && session.teacher_source.path != session.source.path)
    hashes["teacher"] = model::identity(session.teacher_source);
  return hashes;
}

}  // namespace

bool Session::quantized() const {
  return !activations.empty() ||
         std::any_of(student->slots().begin(), student->slots().end(), [](const Slot& slot) {
           return slot.quantizer != nullptr;
         });
}

bool Session::teaches_itself() const {
  return needs_teacher && teacher_plan.empty() && !source_rounds &&
         teacher_source.path == source.path && settings.teacher.dtype == settings.model.dtype;
}

model::Decoder load_teacher(const Session& session) {
  const at::ScalarType dtype = quant::parse_dtype(session.settings.teacher.dtype);
  model::Decoder teacher =
      session.teacher_plan.empty()
          ? model::load_decoder(session.teacher_source, dtype)
          : model::load_packed_decoder(session.teacher_source, dtype, session.teacher_plan);
  model::require_ready(teacher);
  if (!session.device.is_cpu())
    teacher.move_to(session.device);
  return teacher;
}

namespace {

/// A model that was trained with rounded activations is another one without.
void require_said(const Session& session) {
  if (session.source_rounds && !session.says_activations)
    throw recipes::UserError("model.path: " + session.source.path.string() +
                             " rounds its activations and the recipe has no [act]; repeat the "
                             "table that it was made with, or say act.input=none to train it "
                             "without");
}

}  // namespace

void load_models(Session& session) {
  const Settings& s = session.settings;
  const auto source = model::open_weights(session.source);
  const model::Activations activations = source->activations();
  session.source_rounds = !activations.recipe.empty();
  require_said(session);
  session.hashes = hashes_of(session);
  const quant::Plan plan = session.plan.at(0);
  const auto quantizer_of = [&](const model::Parameter& parameter) {
    return model::build_quantizer(plan, parameter);
  };
  model::Decoder decoder(session.source.config, quant::parse_dtype(s.model.dtype));
  model::attach_adapters(decoder, session.adapters);
  model::attach_activations(decoder, session.activations);
  model::inherit_act_state(decoder, activations.state);
  const Shares shares = student_shares(session, decoder);
  std::map<std::string, Tensor> masters = load_masters(session, decoder, *source, shares);
  session.student = std::make_unique<Student>(
      std::move(decoder),
      std::move(masters),
      quantizer_of,
      Freezing{s.train.freeze, s.train.only == "quant", !session.adapters.empty()},
      session.places());
  if (!shares.empty())
    own(*session.student, shares, session.world->rank());
  if (!session.needs_teacher || session.caches_teacher())
    return;
  if (loads_teacher_share(session))
    load_teacher_share(session);
  else
    session.teacher = std::make_unique<model::Decoder>(load_teacher(session));
}

void require_same_recipe(const recipes::Recipe& stored, const recipes::Recipe& now) {
  std::string changed;
  for (const recipes::Difference& each : stored.diff(now)) {
    const bool free = std::any_of(std::begin(kFree), std::end(kFree), [&](const char* pattern) {
      return recipes::glob_matches(pattern, each.key);
    });
    if (!free)
      changed += "\n  " + each.key + " was " + (each.before.empty() ? "not set" : each.before) +
                 ", now " + (each.after.empty() ? "not set" : each.after);
  }
  if (!changed.empty())
    throw UserError("--resume continues the same run; these keys differ from its recipe.toml:" +
                    changed + "\nSet them back, or start a new run under another run.name.");
}

}  // namespace sterna::run
