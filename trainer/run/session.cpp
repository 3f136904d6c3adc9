#include "trainer/run/session.h"

#include "quant/plan.h"
#include "recipes/glob.h"
#include "trainer/export/format.h"

namespace sterna::run {
namespace {

using recipes::UserError;

// Keys that say what is looked at and how far, not what is computed.
constexpr const char* kFree[] = {"run.*",
                                 "eval.*",
                                 "export.*",
                                 "verify.*",
                                 "train.steps",
                                 "train.log_every",
                                 "train.checkpoint_every",
                                 "train.keep_*",
                                 "train.max_bad_steps",
                                 "train.peak_tflops",
                                 "blockwise.checkpoint_every"};

void require_one_vocabulary(const model::CheckpointInfo& student,
                            const model::CheckpointInfo& teacher,
                            const text::Tokenizer& tokenizer) {
  if (student.config.vocab != teacher.config.vocab)
    throw UserError("teacher.path: " + teacher.path.string() + " has a vocabulary of " +
                    std::to_string(teacher.config.vocab) + ", the student " +
                    student.path.string() + " one of " + std::to_string(student.config.vocab) +
                    "; distillation compares logits, so both must be of one family");
  if (tokenizer.vocab_size() > student.config.vocab)
    throw UserError(student.path.string() + ": the tokenizer has " +
                    std::to_string(tokenizer.vocab_size()) + " tokens, the embedding only " +
                    std::to_string(student.config.vocab) + " rows");
}

void require_positions(const model::CheckpointInfo& source, const char* key, int64_t seq_len) {
  if (source.config.max_positions > 0 && seq_len > source.config.max_positions)
    throw UserError(std::string(key) + " = " + std::to_string(seq_len) + ", but " +
                    source.path.string() + " was made for at most " +
                    std::to_string(source.config.max_positions) + " positions");
}

std::vector<std::string> modules_of(model::Decoder& decoder) {
  std::vector<std::string> modules;
  for (const model::Parameter& parameter : decoder.parameters())
    if (parameter.matrix)
      modules.push_back(without_suffix(parameter.name));
  return modules;
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

}  // namespace

bool Session::quantized() const {
  return std::any_of(student->slots().begin(), student->slots().end(), [](const Slot& slot) {
    return slot.quantizer != nullptr;
  });
}

Settings read_settings(recipes::Recipe& recipe) {
  Settings s;
  s.run = recipe.section("run").read<RunConfig>();
  s.model = recipe.section("model").read<ModelConfig>();
  s.teacher = recipe.section("teacher").read<TeacherConfig>();
  s.train = recipe.section("train").read<TrainConfig>();
  s.blockwise = recipe.section("blockwise").read<BlockwiseConfig>();
  s.eval = recipe.section("eval").read<EvalConfig>();
  if (s.model.path.empty())
    recipe.section("model").fail("path", "expected the checkpoint to start from, found nothing");
  if (s.train.steps == 0 && !s.blockwise_wanted())
    recipe.section("train").fail(
        "steps", "nothing to do: set train.steps, or blockwise.samples for the block-wise stage");
  return s;
}

void read_all_sections(recipes::Recipe& recipe) {
  read_settings(recipe);
  distill::Objective(recipe.section("kd"));
  quant::Plan::read(recipe.section("quant"));
  recipe.section("data").read<data::DataConfig>();
  if (recipe.section("export").has("format"))
    exporter::formats().build(recipe.section("export"), "format");
  recipe.section("verify").read<VerifyConfig>();
}

Session open_session(recipes::Recipe& recipe) {
  read_all_sections(recipe);
  recipe.reject_unknown();
  Session session;
  session.settings = read_settings(recipe);
  const Settings& s = session.settings;
  session.objective = std::make_unique<distill::Objective>(recipe.section("kd"));
  const quant::Plan plan = quant::Plan::read(recipe.section("quant"));

  session.source = model::inspect(s.model.path);
  session.tokenizer = text::open_tokenizer(session.source.tokenizer_path);
  const bool with_teacher =
      s.blockwise_wanted() || (s.train.steps > 0 && session.objective->needs_teacher());
  const model::CheckpointInfo teacher =
      with_teacher && !s.teacher.path.empty() ? model::inspect(s.teacher.path) : session.source;
  require_one_vocabulary(session.source, teacher, *session.tokenizer);
  require_positions(session.source, "train.seq_len", s.train.seq_len);
  require_positions(session.source, "blockwise.seq_len", s.blockwise_seq_len());
  if (!s.eval.text.empty())
    require_positions(session.source, "eval.window", s.eval.window);
  if (s.blockwise_wanted() && (teacher.config.layers != session.source.config.layers ||
                               teacher.config.width != session.source.config.width))
    throw UserError("[blockwise] compares block with block: teacher.path must have the student's " +
                    std::to_string(session.source.config.layers) + " blocks of width " +
                    std::to_string(session.source.config.width));

  const auto open = [&](int64_t seq_len) {
    return data::open_samples(recipe.section("data"), *session.tokenizer, seq_len, s.train.seed);
  };
  if (s.train.steps > 0)
    session.samples = open(s.train.seq_len);
  if (s.blockwise_wanted())
    session.block_samples = open(s.blockwise_seq_len());

  model::Weights weights = model::read_weights(session.source);
  model::Decoder decoder(session.source.config, parse_dtype(s.model.dtype));
  plan.require_matches(modules_of(decoder));
  require_freezable(decoder, s.train.freeze);
  const auto quantizer_of = [&](const std::string& name) {
    return plan.build(without_suffix(name),
                      layer_of(name) < 0 ? quant::Place::kOutside : quant::Place::kBlock);
  };
  session.student = std::make_unique<Student>(std::move(decoder),
                                              std::move(weights.tensors),
                                              quantizer_of,
                                              Freezing{s.train.freeze, s.train.only == "quant"});
  if (with_teacher)
    session.teacher = std::make_unique<model::Decoder>(
        model::load_decoder(teacher, parse_dtype(s.teacher.dtype)));
  return session;
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
