#pragma once

#include "tests/run/meeting.h"
#include "tests/run/student_fixture.h"
#include "trainer/run/step.h"

namespace sterna::run {

/// A recipe's `[kd]`.
inline distill::Objective objective_of(const std::string& kd) {
  auto recipe = recipes::Recipe::parse("[kd]\n" + kd + "\n", "test");
  return distill::Objective(recipe.section("kd"));
}

/// twn for every linear of the blocks.
inline std::unique_ptr<quant::Quantizer> ternary_in_blocks(const model::Parameter& parameter) {
  const bool wanted = parameter.matrix && parameter.layer >= 0;
  return wanted ? quant::quantizers().make_default("twn") : nullptr;
}

/// lsq there: a quantizer that needs its whole matrix.
inline std::unique_ptr<quant::Quantizer> lsq_in_blocks(const model::Parameter& parameter) {
  const bool wanted = parameter.matrix && parameter.layer >= 0;
  return wanted ? quant::quantizers().make_default("lsq") : nullptr;
}

/// How a run is spread: 8 samples a step whatever it says.
struct Spread {
  std::string strategy = "ddp";
  int64_t ranks = 1;
  int64_t accumulate = 1;  ///< micro-batches of a rank
  bool teacher = false;    ///< shared out
  std::string reduce_dtype = "fp32";
  int64_t tokens = 32;  ///< of a sample
  double bucket_mib = 0.05;
  double lr = 1e-3;
  double eps = 1e-8;
  std::shared_ptr<const data::SampleSource> samples{};  ///< null: the same bytes over and over
  bool recompute = false;
  bool offloads = false;              ///< inputs of blocks, with recompute
  at::ScalarType dtype = at::kFloat;  ///< in which the student computes
  Places places{};
  std::function<std::unique_ptr<Copier>()> copier{};  ///< for offloads; null: that of the device

  DistConfig dist() const {
    DistConfig config;
    config.strategy = strategy;
    config.bucket_mib = bucket_mib;
    config.reduce_dtype = reduce_dtype;
    config.teacher = teacher ? "sharded" : "replicated";
    return config;
  }

  TrainConfig train() const {
    TrainConfig config;
    config.steps = 100;
    config.accumulate = ranks * accumulate;
    config.batch = 8 / config.accumulate;
    config.lr = lr;
    config.eps = eps;
    config.schedule = "constant";
    config.recompute = recompute;
    return config;
  }
};

inline void PrintTo(const Spread& s, std::ostream* out) {
  *out << s.strategy << " on " << s.ranks << " ranks, " << s.accumulate << " micro-batches"
       << (s.teacher ? ", teacher shared out" : "");
}

/// One rank of a run on a model in a folder.
struct SpreadRank {
  SpreadRank(const std::filesystem::path& folder,
             dist::World& w,
             const Spread& s,
             const QuantizerOf& quantizer_of = ternary_in_blocks,
             const std::string& kd = "loss = \"tsld\"")
      : spread(s),
        world(w),
        student(student_of(folder, {}, quantizer_of, s.places, s.dtype)),
        teacher(model::load_decoder(model::inspect(folder), at::kFloat)),
        objective(objective_of(kd)) {
    teacher.move_to(s.places.compute);
    if (s.dist().shards()) {
      const auto by_row = [&](const model::Parameter& parameter) {
        const auto quantizer = quantizer_of(parameter);
        return !quantizer || quantizer->by_row(parameter.shape.back());
      };
      cut(*student, optimizer, world, quantizer_of, by_row);
    }
    sharing = std::make_unique<Sharing>(*student, world, s.dist());
    if (s.teacher)
      sharing->share_teacher(teacher);
    step = std::make_unique<Step>(StepParts{*student,
                                            &teacher,
                                            objective,
                                            *samples,
                                            optimizer,
                                            world,
                                            nullptr,
                                            nullptr,
                                            sharing.get(),
                                            s.offloads,
                                            s.copier},
                                  config);
  }

  StepReport run(int64_t attempt) { return step->run(attempt); }

  Spread spread;
  dist::World& world;
  TrainConfig config = spread.train();
  std::unique_ptr<Student> student;
  model::Decoder teacher;
  distill::Objective objective;
  std::shared_ptr<const data::SampleSource> samples =
      spread.samples ? spread.samples : std::make_shared<const Repeated>(spread.tokens);
  Optimizer optimizer{config.adam(), config.clip};
  std::unique_ptr<Sharing> sharing;
  std::unique_ptr<Step> step;
};

}  // namespace sterna::run
