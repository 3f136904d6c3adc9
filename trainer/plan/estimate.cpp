#include "trainer/plan/estimate.h"

#include <fstream>

#include "quant/scale.h"
#include "trainer/run/log.h"
#include "trainer/run/step_log.h"

namespace sterna::plan {
namespace {

// A process that has loaded LibTorch and done nothing.
constexpr double kProgram = 200 * kMiB;
/// Multiply-adds a second of a bf16 or fp32 product of the model's own shape, times two.
double measured_flops(const model::DecoderConfig& c, const std::string& dtype, at::Device device) {
  const at::NoGradGuard no_grad;
  const int64_t rows = 512;
  const auto there = at::TensorOptions(device).dtype(quant::parse_dtype(dtype));
  const at::Tensor x = at::rand({rows, c.width}).to(there);
  const at::Tensor w = at::rand({c.inner, c.width}).to(there);
  const auto wait_for = [&](const at::Tensor& y) {
    if (!device.is_cpu())
      y.flatten()[0].item();
  };
  wait_for(at::linear(x, w));
  run::Stopwatch watch;
  int64_t runs = 0;
  while (watch.seconds() < 0.1 && runs < 1000) {
    wait_for(at::linear(x, w));
    ++runs;
  }
  return 2.0 * static_cast<double>(rows * c.width * c.inner * runs) / watch.seconds();
}

// A step reaches about this share of the bare product's speed: attention, norms, loss and optimizer
// take the rest.
constexpr double kShareOfProduct = 0.55;

double blockwise_flops(const run::Settings& s, const model::DecoderConfig& c) {
  const double per_token = run::step_flops(c, nullptr, s.blockwise_seq_len()).student / 6 -
                           static_cast<double>(c.vocab * c.width);
  const auto tokens = static_cast<double>(s.blockwise.samples * s.blockwise_seq_len());
  // Two forward passes move the streams, each epoch adds forward and backward.
  return tokens * per_token * (4 + 4 * static_cast<double>(s.blockwise.epochs));
}

std::string gib(double bytes) {
  return run::short_number(bytes / kGiB, 3) + " GiB";
}

/// What most runs have none of.
std::string others_text(const MemoryEstimate& m) {
  const std::pair<const char*, double> others[] = {{"quantizers", m.quantizers},
                                                   {"averages", m.average},
                                                   {"a checkpoint's copy", m.copy},
                                                   {"exchange", m.buffers},
                                                   {"the block-wise stage", m.streams},
                                                   {"an evaluation", m.evaluation},
                                                   {"models before they are cut", m.uncut}};
  std::string text;
  for (const auto& [name, bytes] : others)
    if (bytes > 0)
      text += std::string(", ") + name + " " + gib(bytes);
  return text;
}

}  // namespace

MemoryEstimate estimate_memory(const run::Session& session) {
  const Workload work = workload_of(session);
  const int64_t ranks = session.world->size();
  const int64_t samples = (work.samples() + ranks - 1) / ranks;
  const run::Settings& s = session.settings;
  MemoryEstimate m =
      estimate_memory(work, {ranks, samples, std::min(s.train.batch, samples)}, kProgram);
  (on_device(work) ? m.host.copy : m.copy) = checkpoint_copy(work, ranks);
  return m;
}

double memory_room() {
  double available = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("MemAvailable:"))
      available = 1024 * std::stod(line.substr(13));
  return available + kMiB * run::process_memory().now;
}

std::string memory_warning(double needed, double room) {
  if (needed <= room)
    return {};
  std::string text = "WARNING: this run needs about " + gib(needed) + ", but only " + gib(room);
  return text.append(" of memory can be had. ").append(kMemoryKnobs);
}

std::vector<std::string> estimate(const run::Session& session) {
  const run::Settings& s = session.settings;
  const model::DecoderConfig& c = session.source.config;
  const MemoryEstimate m = estimate_memory(session);
  std::vector<std::string> lines;
  const bool on_cpu = session.device.is_cpu();
  const double host = m.host.total();
  const double needed = on_cpu ? m.total() + host : host;  // of host memory
  const std::string whole =
      on_cpu ? gib(needed)
             : gib(m.total()) + " on the device and " + gib(host) + " of host memory; the device's";
  lines.push_back(
      "memory about " + whole + ": masters " + gib(m.masters) + ", gradients " + gib(m.gradients) +
      ", moments " + gib(m.moments) + ", compute weights " + gib(m.compute) + ", teacher " +
      gib(m.teacher) + ", activations " + gib(m.activations) + ", loss or the block in work " +
      gib(std::max(m.loss, m.working)) + others_text(m) +
      (on_cpu && host > 0 ? ", offloaded " + gib(host) : "") + ", program " + gib(m.program));
  if (const std::string warning = memory_warning(needed, memory_room()); !warning.empty())
    lines.push_back(warning);
  const double speed = kShareOfProduct * measured_flops(c, s.model.dtype, session.device);
  std::string time = "time about";
  if (s.blockwise_wanted())
    time += " " + run::clock_text(blockwise_flops(s, c) / speed) + " block-wise";
  if (s.train.steps > 0) {
    const bool teaches = session.objective->needs_teacher() && session.teacher;
    const run::StepFlops flops =
        run::step_flops(c, teaches ? &session.teacher->config() : nullptr, s.train.seq_len);
    const auto tokens = static_cast<double>(s.train.batch * s.train.accumulate * s.train.seq_len);
    const double recompute = s.train.recompute ? flops.student / 3 : 0;
    const double step = tokens * (flops.student + flops.teacher + recompute) / speed;
    time += (s.blockwise_wanted() ? " +" : "") + std::string(" ") + std::to_string(s.train.steps) +
            " steps of " + run::short_number(step, 3) +
            " s = " + run::clock_text(step * static_cast<double>(s.train.steps));
  }
  lines.push_back(time + ", evaluation not counted (matrix product measured at " +
                  run::short_number(speed / kShareOfProduct / 1e9, 3) + " GFLOP/s)");
  return lines;
}

const char* const kMemoryKnobs =
    "What helps, strongest first: train.batch lower with train.accumulate higher (same step), "
    "train.recompute=true, train.seq_len lower, kd.chunk lower, teacher.dtype=bf16, "
    "model.dtype=bf16, train.freeze with embeddings, on a GPU memory.offload=optimizer, and "
    "blockwise.samples lower for the block-wise stage.";

}  // namespace sterna::plan
