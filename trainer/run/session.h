#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "distill/objective.h"
#include "quant/act_plan.h"
#include "quant/adapter_plan.h"
#include "quant/plan.h"
#include "recipes/recipe.h"
#include "trainer/data/samples.h"
#include "trainer/dist/world.h"
#include "trainer/eval/texts.h"
#include "trainer/model/load.h"
#include "trainer/run/cached_teacher.h"
#include "trainer/run/config.h"
#include "trainer/run/places.h"
#include "trainer/run/ranges.h"
#include "trainer/run/student.h"
#include "trainer/text/tokenizer.h"

namespace sterna::run {

/// The sections of a recipe that a training run reads itself.
struct Settings {
  RunConfig run;
  ModelConfig model;
  TeacherConfig teacher;
  TrainConfig train;
  BlockwiseConfig blockwise;
  EvalConfig eval;
  DistConfig dist;
  MemoryConfig memory;

  bool blockwise_wanted() const { return blockwise.samples > 0; }
  int64_t blockwise_seq_len() const {
    return blockwise.seq_len > 0 ? blockwise.seq_len : train.seq_len;
  }
};

/// Everything a run works with, built from its recipe by open_session() and load_models().
struct Session {
  Settings settings;
  std::shared_ptr<dist::World> world;
  at::Device device = at::kCPU;  ///< where models compute
  model::CheckpointInfo source;
  std::unique_ptr<text::Tokenizer> tokenizer;
  std::unique_ptr<data::SampleSource> samples;        ///< null where train.steps is 0
  std::unique_ptr<data::SampleSource> block_samples;  ///< null without a block-wise stage
  std::vector<eval::EvalText> texts;                  ///< of eval.text
  std::vector<std::string> remarks;                   ///< what a person should be told
  std::unique_ptr<distill::Objective> objective;
  quant::Plan plan;
  /// int64 [S, T]: what quant.budget_bits is to be shared out on; undefined where it is not, or is
  /// already.
  at::Tensor bit_tokens;
  quant::AdapterPlan adapters;
  quant::Plan teacher_plan;   ///< of `teacher.quant`
  std::string teacher_quant;  ///< the same as text; empty where the teacher is not rounded
  RangeRules ranges;
  quant::ActPlan activations;
  bool says_activations = false;  ///< the recipe has an `[act]`, be it that nothing is rounded
  bool needs_teacher = false;
  model::CheckpointInfo teacher_source;  ///< the student's where no other is named

  // From load_models() on.
  std::map<std::string, std::string> hashes;  ///< what a resumed run must find as it was
  bool source_rounds = false;                 ///< the source's own activations are rounded
  std::unique_ptr<Student> student;
  std::unique_ptr<model::Decoder> teacher;        ///< null where nothing needs one, or it is cached
  std::shared_ptr<WeightShards> teacher_shards;   ///< of it, where ranks load their rows alone
  std::unique_ptr<CachedTeacher> cached_teacher;  ///< in its place, from teach_ahead() on

  /// True where some matrix, or what one reads, is quantized.
  bool quantized() const;

  Places places() const {
    const bool offloads = settings.memory.offload == "optimizer";
    return {device, offloads ? at::Device(at::kCPU) : device};
  }

  /// True where what the teacher says is read from disk.
  bool caches_teacher() const { return needs_teacher && settings.teacher.cache != "none"; }

  /// True where the teacher is the student in full precision, computed in the same dtype.
  bool teaches_itself() const;
};

Settings read_settings(recipes::Recipe& recipe);

/// Reads every section of a training recipe, as open_session() does, and loads nothing: afterwards
/// the recipe is resolved.
void read_all_sections(recipes::Recipe& recipe);

/// What open_session() opens but for tokenizer and texts, so that a config.json alone is enough;
/// what only these can show wrong stays unseen.
/// @throws recipes::UserError
Session open_shapes(recipes::Recipe& recipe);

/// Opens everything but weights, so that mistakes show before any are read: checkpoints that do not
/// fit each other or the recipe, patterns that match nothing, texts that are not there, nothing to
/// do. Every rank of the world calls it.
/// @throws recipes::UserError
/// @throws Interrupted  on all ranks, while the training text is tokenized
Session open_session(recipes::Recipe& recipe,
                     std::shared_ptr<dist::World> world = dist::make_single());

/// The teacher, in few bits where `teacher.quant` says so.
model::Decoder load_teacher(const Session& session);

/// Reads student and teacher; behind teach_ahead() where that is cached. @throws recipes::UserError
void load_models(Session& session);

/// Values a resumed run may change: training to more steps, and what is looked at on the way.
/// @throws recipes::UserError  naming each other key with both values
void require_same_recipe(const recipes::Recipe& stored, const recipes::Recipe& now);

}  // namespace sterna::run
