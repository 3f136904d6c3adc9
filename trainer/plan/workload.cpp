#include "trainer/plan/workload.h"

#include <numeric>

#include "trainer/model/adapters.h"
#include "trainer/model/plan_fits.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/rank_checks.h"

namespace sterna::plan {
namespace {

double elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), 1.0, [](double product, int64_t n) {
    return product * static_cast<double>(n);
  });
}

/// Index among the parts: 0, 1 .. L, L + 1.
size_t part_of(const model::Parameter& parameter, int64_t layers) {
  if (parameter.behind)
    return static_cast<size_t>(layers) + 1;
  return static_cast<size_t>(parameter.layer + 1);
}

double sum_elements(const std::vector<quant::NamedTensor>& tensors, const std::string& only = "") {
  double sum = 0;
  for (const quant::NamedTensor& each : tensors)
    if (only.empty() || each.name == only)
      sum += static_cast<double>(each.tensor.numel());
  return sum;
}

/// Which parameters Student trains.
class Trains {
 public:
  Trains(const run::Session& session, model::Decoder& shapes)
      : config_(session.settings.train),
        adapters_(!session.adapters.empty()),
        head_(&shapes.head_linear().weight) {}

  bool free(const model::Parameter& p) const {
    return std::none_of(config_.freeze.begin(), config_.freeze.end(), [&](const auto& pattern) {
      return run::freezes(pattern, p.name) ||
             (p.value == head_ && run::freezes(pattern, "lm_head.weight"));
    });
  }
  bool master(const model::Parameter& p) const {
    return free(p) && config_.only.empty() && (p.adapter || !adapters_);
  }
  bool quantizer(const model::Parameter& p) const { return free(p) && !adapters_; }

 private:
  const run::TrainConfig& config_;
  bool adapters_;
  const at::Tensor* head_;
};

/// A parameter of `n` elements with its quantizer, or null.
PartSize size_of(const model::Parameter& p,
                 quant::Quantizer* quantizer,
                 const Trains& trains,
                 const std::string& only) {
  const double n = elements(p.shape);
  PartSize size;
  (p.matrix ? size.matrices : size.vectors) = n;
  size.moved = trains.master(p) ? n : 0;
  bool learns = false;
  if (quantizer != nullptr) {
    size.quantized = n;
    const bool holds = only == "scales";  // codes, int8
    quantizer->allocate(at::empty(p.shape));
    const double learned = sum_elements(quantizer->parameters());
    size.quantizers = 4 * (learned + sum_elements(quantizer->buffers())) + (holds ? n : 0);
    learns = learned > 0 && trains.quantizer(p);
    if (learns)
      size.learned = holds ? sum_elements(quantizer->parameters(), "scale") : learned;
    size.moved += size.learned;
  }
  size.trained = trains.master(p) || learns ? n : 0;
  return size;
}

}  // namespace

void PartSize::add(const PartSize& other) {
  matrices += other.matrices;
  vectors += other.vectors;
  quantized += other.quantized;
  trained += other.trained;
  moved += other.moved;
  learned += other.learned;
  quantizers += other.quantizers;
  packed += other.packed;
}

PartSize sum_of(const std::vector<PartSize>& parts) {
  PartSize sum;
  for (const PartSize& part : parts)
    sum.add(part);
  return sum;
}

std::vector<PartSize> student_parts(const run::Session& session) {
  const model::DecoderConfig& config = session.source.config;
  model::Decoder shapes(config, at::kFloat);
  model::attach_adapters(shapes, session.adapters);
  const Trains trains(session, shapes);
  const quant::Plan plan = session.plan.at(0);
  std::vector<PartSize> parts(static_cast<size_t>(config.layers) + 2);
  for (const model::Parameter& p : shapes.parameters()) {
    const auto quantizer = model::build_quantizer(plan, p);
    parts[part_of(p, config.layers)].add(
        size_of(p, quantizer.get(), trains, session.settings.train.only));
  }
  return parts;
}

std::vector<PartSize> teacher_parts(const model::DecoderConfig& config, const quant::Plan& plan) {
  model::Decoder shapes(config, at::kFloat);
  std::vector<PartSize> parts(static_cast<size_t>(config.layers) + 2);
  for (const model::Parameter& p : shapes.parameters()) {
    PartSize& part = parts[part_of(p, config.layers)];
    const bool packable = p.matrix && model::place_of(p) == quant::Place::kBlock;
    const auto fit =
        packable ? model::try_fit(plan, p.name, p.shape, quant::Place::kBlock) : std::nullopt;
    if (fit)
      part.packed += elements(p.shape) * fit->bits_per_weight / 8;
    else
      (p.matrix ? part.matrices : part.vectors) += elements(p.shape);
  }
  return parts;
}

namespace {

/// What is in memory of a session's teacher.
std::vector<PartSize> held_of_teacher(const run::Session& session) {
  const model::DecoderConfig& c = session.teacher_source.config;
  if (!session.caches_teacher())
    return teacher_parts(c, session.teacher_plan);
  PartSize head;
  if (session.settings.teacher.cache == "hidden")
    head.matrices = static_cast<double>(c.vocab) * static_cast<double>(c.embedding_width());
  return {head};
}

}  // namespace

Workload workload_of(const run::Session& session) {
  Workload work;
  work.settings = session.settings;
  work.student = session.source.config;
  work.parts = student_parts(session);
  model::Decoder shapes(work.student, at::kFloat);
  for (const model::Parameter& p : shapes.parameters()) {
    if (p.layer >= 0)
      work.largest_matrix = std::max(work.largest_matrix, elements(p.shape));
    work.largest = std::max(work.largest, elements(p.shape));
  }
  work.taught = session.settings.train.steps > 0 && session.objective->needs_teacher();
  if (work.taught && !session.caches_teacher())
    work.teacher = session.teacher_source.config;
  if (session.needs_teacher)
    work.teacher_parts = held_of_teacher(session);
  work.compares_hidden = session.objective->hidden().wanted();
  work.chunk = session.objective->chunk();
  work.cut_late = session.settings.blockwise_wanted() || session.ranges.wanted();
  return work;
}

int64_t zero_stage(const run::DistConfig& dist) {
  return dist.shards() ? dist.strategy.back() - '0' : 0;
}

Share share_among(const Workload& work, int64_t ranks) {
  const run::TrainConfig& train = work.settings.train;
  run::require_even_shares(train, ranks);
  const int64_t samples = work.samples() / ranks;
  return {ranks, samples, std::min(train.batch, samples)};
}

}  // namespace sterna::plan
