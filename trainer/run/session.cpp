#include "trainer/run/session.h"

#include <optional>

#include "quant/scale.h"
#include "recipes/blame.h"
#include "recipes/glob.h"
#include "trainer/data/token_making.h"
#include "trainer/eval/bits.h"
#include "trainer/export/format.h"
#include "trainer/model/activations.h"
#include "trainer/model/adapters.h"
#include "trainer/model/identity.h"
#include "trainer/model/load_parts.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/same_tokens.h"
#include "trainer/model/weight_source.h"
#include "trainer/run/deliver.h"
#include "trainer/run/load_shares.h"
#include "trainer/run/rank_checks.h"
#include "trainer/run/session_checks.h"
#include "trainer/run/signals.h"
#include "trainer/run/together.h"

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

/// What deliver() will need at the end of the run.
void require_delivery(recipes::Recipe& recipe, const Session& session) {
  if (!recipe.section("export").has("format"))
    return;
  const auto format = exporter::formats().build(recipe.section("export"), "format");
  if (!session.adapters.empty() && !format->holds_merged())
    recipe.section("export").fail("format", exporter::kNoMerged);
  if (!session.activations.empty() && format->activations() == exporter::KeepsActivations::kRefused)
    recipe.section("export").fail("format", exporter::kNoActivations);
  const auto wanted = recipe.section("verify").read<VerifyConfig>();
  recipes::blame_on(recipe.section("verify"), "text", [&] {
    return read_verify_ids(wanted, *session.tokenizer, session.source.config);
  });
}

/// The ranks of a world, who tokenize together.
data::Crew crew_of(dist::World& world) {
  return {world.rank(),
          world.size(),
          [&world](const std::function<void()>& work) { together(world, work); },
          [&world](const std::function<bool()>& ask) { return as_rank_0(world, ask); },
          SignalWatch::check};
}

void tokenize(recipes::Recipe& recipe, Session& session) {
  const recipes::Section section = recipe.section("data");
  const std::vector<std::string> notes = recipes::blame_on(section, "text", [&] {
    return data::tokenize_together(
        data::read_config(section), *session.tokenizer, crew_of(*session.world));
  });
  session.remarks.insert(session.remarks.end(), notes.begin(), notes.end());
}

void open_data(recipes::Recipe& recipe, Session& session) {
  const Settings& s = session.settings;
  const auto open = [&](int64_t seq_len) {
    const recipes::Section section = recipe.section("data");
    auto samples = recipes::blame_on(section, "text", [&] {
      return data::open_samples(
          section, *session.tokenizer, seq_len, s.train.seed, SignalWatch::check);
    });
    if (!samples->note().empty())
      session.remarks.push_back(samples->note());
    return samples;
  };
  if (s.train.steps > 0)
    session.samples = open(s.train.seq_len);
  if (s.blockwise_wanted())
    session.block_samples = open(s.blockwise_seq_len());
  if (session.samples)
    require_pairs(session);
}

void open_bits(recipes::Recipe& recipe, Session& session) {
  model::Decoder shapes(session.source.config, at::kFloat);
  if (eval::bit_matrices(session.plan, shapes).empty())
    return;
  session.bit_tokens = recipes::blame_on(recipe.section("quant"), "budget_text", [&] {
    return eval::bit_tokens(session.plan, session.source);
  });
}

/// Opens what `path` of that section names.
model::CheckpointInfo open_checkpoint(const recipes::Section& section,
                                      const std::filesystem::path& path,
                                      Session& session) {
  model::CheckpointInfo info =
      recipes::blame_on(section, "path", [&] { return model::inspect(path); });
  session.remarks.insert(session.remarks.end(), info.remarks.begin(), info.remarks.end());
  return info;
}

void open_checkpoints(recipes::Recipe& recipe, Session& session) {
  const Settings& s = session.settings;
  session.source = open_checkpoint(recipe.section("model"), s.model.path, session);
  const bool self = s.teacher.path.empty() || s.teacher.path == s.model.path;
  session.teacher_source =
      self ? session.source : open_checkpoint(recipe.section("teacher"), s.teacher.path, session);
}

/// Comes behind the search for unknown keys: what is missing may be there, mistyped.
void require_something_to_do(recipes::Recipe& recipe, const Settings& s) {
  if (s.model.path.empty())
    recipe.section("model").fail("path", "expected the checkpoint to start from, found nothing");
  if (s.train.steps == 0 && !s.blockwise_wanted())
    recipe.section("train").fail(
        "steps", "nothing to do: set train.steps, or blockwise.samples for the block-wise stage");
}

void read_teacher_plan(recipes::Recipe& recipe, Session& session) {
  session.teacher_plan = quant::Plan::read(recipe.section("teacher").sub("quant"));
  if (session.teacher_plan.empty())
    return;
  for (const recipes::Difference& each : recipes::Recipe().diff(recipe))
    if (each.key.starts_with("teacher.quant."))
      session.teacher_quant += each.key.substr(14) + " = " + each.after + "\n";
}

/// All that the recipe says by itself.
Session read_rules(recipes::Recipe& recipe) {
  Session session;
  session.says_activations = recipe.root().has("act");
  session.settings = read_settings(recipe);
  session.world = dist::make_single();
  const Settings& s = session.settings;
  require_something_to_do(recipe, s);
  session.objective = std::make_unique<distill::Objective>(recipe.section("kd"));
  session.plan = quant::Plan::read(recipe.section("quant"));
  session.adapters = quant::AdapterPlan::read(recipe.section("adapter"));
  read_teacher_plan(recipe, session);
  session.ranges = RangeRules::read(recipe.section("kd"));
  session.activations = quant::ActPlan::read(recipe.section("act"));
  session.needs_teacher =
      s.blockwise_wanted() || (s.train.steps > 0 && session.objective->needs_teacher());
  return session;
}

/// What is read of files, but for the training text.
Session open_files(recipes::Recipe& recipe, std::shared_ptr<dist::World> world) {
  Session session = read_rules(recipe);
  session.world = std::move(world);
  const Settings& s = session.settings;
  open_checkpoints(recipe, session);
  session.tokenizer = recipes::blame_on(
      recipe.section("model"), "path", [&] { return model::open_tokenizer(session.source); });
  require_fitting_models(session);
  session.texts = recipes::blame_on(recipe.section("eval"), "text", [&] {
    return eval::read_texts(s.eval, *session.tokenizer, session.source.config);
  });
  require_delivery(recipe, session);
  open_bits(recipe, session);
  return session;
}

void open_training(recipes::Recipe& recipe, Session& session) {
  open_data(recipe, session);
  require_ranks(session, session.world->size());
  if (session.caches_teacher())
    session.remarks.push_back(cache_text(session) +
                              (session.texts.empty()
                                   ? ""
                                   : "; with the teacher not in memory, evaluations say no KL "
                                     "divergence from it"));
}

/// Rank 0 comes first: mistakes are told once, and what it makes lies ready for the others.
Session open(recipes::Recipe& recipe, const std::shared_ptr<dist::World>& world) {
  std::optional<Session> session;
  rank_0_first(*world, [&] { session.emplace(open_files(recipe, world)); });
  tokenize(recipe, *session);
  rank_0_first(*world, [&] { open_training(recipe, *session); });
  return std::move(*session);
}

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

Settings read_settings(recipes::Recipe& recipe) {
  Settings s;
  s.run = recipe.section("run").read<RunConfig>();
  s.model = recipe.section("model").read<ModelConfig>();
  s.teacher = recipe.section("teacher").read<TeacherConfig>();
  s.train = recipe.section("train").read<TrainConfig>();
  s.blockwise = recipe.section("blockwise").read<BlockwiseConfig>();
  s.eval = recipe.section("eval").read<EvalConfig>();
  s.dist = recipe.section("dist").read<DistConfig>();
  s.memory = recipe.section("memory").read<MemoryConfig>();
  return s;
}

void read_all_sections(recipes::Recipe& recipe) {
  read_settings(recipe);
  distill::Objective(recipe.section("kd"));
  quant::Plan::read(recipe.section("quant"));
  quant::AdapterPlan::read(recipe.section("adapter"));
  quant::Plan::read(recipe.section("teacher").sub("quant"));
  RangeRules::read(recipe.section("kd"));
  quant::ActPlan::read(recipe.section("act"));
  data::read_config(recipe.section("data"));
  if (recipe.section("export").has("format"))
    exporter::formats().build(recipe.section("export"), "format");
  recipe.section("verify").read<VerifyConfig>();
  recipe.ignore("machine");  // of `sterna plan`
}

Session open_session(recipes::Recipe& recipe, std::shared_ptr<dist::World> world) {
  rank_0_first(*world, [&] {
    read_all_sections(recipe);
    recipe.reject_unknown();
  });
  return recipes::at_its_key(recipe, [&] { return open(recipe, world); });
}

Session open_shapes(recipes::Recipe& recipe) {
  read_all_sections(recipe);
  recipe.reject_unknown();
  return recipes::at_its_key(recipe, [&] {
    Session session = read_rules(recipe);
    open_checkpoints(recipe, session);
    require_fitting_shapes(session);
    return session;
  });
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
