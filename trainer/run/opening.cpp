// What a run reads before its models: the recipe, what checkpoints say of themselves, texts.
#include <optional>

#include "recipes/blame.h"
#include "trainer/data/token_making.h"
#include "trainer/eval/bits.h"
#include "trainer/export/format.h"
#include "trainer/model/same_tokens.h"
#include "trainer/run/deliver.h"
#include "trainer/run/rank_checks.h"
#include "trainer/run/session.h"
#include "trainer/run/session_checks.h"
#include "trainer/run/signals.h"
#include "trainer/run/together.h"

namespace sterna::run {
namespace {

/// What deliver() will need at the end of the run.
void require_delivery(recipes::Recipe& recipe, const Session& session) {
  if (!recipe.section("export").has("format"))
    return;
  const auto format = exporter::formats().build(recipe.section("export"), "format");
  if (!session.adapters.empty() && !format->holds_merged())
    recipe.section("export").fail("format", exporter::kNoMerged);
  if (!session.activations.empty() && format->activations() == exporter::KeepsActivations::kRefused)
    recipe.section("export").fail("format", exporter::kNoActivations);
  if (format->refuses_inexact())
    if (const auto why = format->why_not(prospect_of(recipe, session)))
      recipe.section("export").fail("format", *why);
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

}  // namespace

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

}  // namespace sterna::run
