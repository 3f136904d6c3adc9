#include "trainer/plan/report.h"

#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "trainer/plan/figures.h"
#include "trainer/run/log.h"

namespace sterna::plan {
namespace {

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(digits) << value;
  return text.str();
}

std::string in_gib(double bytes) {
  return fixed(bytes / kGiB, 2);
}

/// "6.74 G "
std::string scaled(double value) {
  constexpr std::pair<double, const char*> kUnits[] = {
      {1e15, " P "}, {1e12, " T "}, {1e9, " G "}, {1e6, " M "}, {1e3, " k "}};
  for (const auto& [unit, name] : kUnits)
    if (value >= unit)
      return run::short_number(value / unit, 3) + name;
  return run::short_number(value, 3) + " ";
}

/// "3.2 ms"
std::string seconds_text(double seconds) {
  if (seconds >= 120)
    return run::clock_text(seconds);
  if (seconds >= 1)
    return fixed(seconds, 2) + " s";
  return run::short_number(seconds * 1e3, 3) + " ms";
}

/// Right-aligned columns, the first one left.
void print_rows(const std::vector<std::vector<std::string>>& rows, std::ostream& out) {
  std::vector<size_t> widths;
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) {
      widths.resize(std::max(widths.size(), i + 1));
      widths[i] = std::max(widths[i], row[i].size());
    }
  for (const auto& row : rows) {
    std::string line = " ";
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string gap(widths[i] - row[i].size(), ' ');
      line += " " + (i == 0 ? row[i] + gap : " " + gap + row[i]);
    }
    out << line << "\n";
  }
}

std::string machine_text(const Machine& m) {
  std::ostringstream text;
  text << "assumed of " << m.like << ": " << run::short_number(100 * m.mfu, 3) << " % of "
       << run::short_number(m.peak_tflops, 4) << " TFLOP/s, " << run::short_number(m.memory_gbs, 4)
       << " GB/s memory; ";
  if (!is_cpu(m))
    text << "host memory " << run::short_number(m.host_gbs, 3) << " GB/s, "
         << run::short_number(m.pcie_gbs, 3) << " GB/s to it; ";
  text << m.per_node << " ranks a node at " << run::short_number(m.intra_gbs, 3) << " GB/s and "
       << run::short_number(m.intra_us, 3) << " us a hop, " << run::short_number(m.inter_gbs, 3)
       << " GB/s a rank and " << run::short_number(m.inter_us, 3)
       << " us between nodes;\n  times of ranks deviate by " << run::short_number(100 * m.jitter, 3)
       << " %, a rank fails every " << run::short_number(m.mtbf_hours, 5)
       << " h, checkpoints are written at " << run::short_number(m.storage_gbs, 3)
       << " GB/s a node, a restart takes " << run::short_number(m.restart_minutes, 3)
       << " min (machine.* changes these)\n";
  return text.str();
}

void print_models(const PlanReport& r, std::ostream& out) {
  const run::Settings& s = r.work.settings;
  const run::StepFlops flops = flops_of(r.work);
  const PartSize all = sum_of(r.work.parts);
  out << "student  " << scaled(all.matrices + all.vectors) << "parameters in " << s.model.dtype
      << ", " << scaled(all.quantized) << "quantized, " << scaled(all.trained) << "trained; "
      << scaled(flops.student) << "FLOP a token\n";
  if (r.work.teacher)
    out << "teacher  " << scaled(static_cast<double>(r.work.teacher->parameters()))
        << "parameters in " << s.teacher.dtype
        << (sum_of(r.work.teacher_parts).packed > 0 ? ", blocks packed" : "") << "; "
        << scaled(flops.teacher) << "FLOP a token\n";
  else if (r.work.taught)
    out << "teacher  read from disk, no FLOP\n";
  const Share& share = r.planned.share;
  out << "step     " << r.work.samples() << " samples of " << s.train.seq_len << " tokens; a rank "
      << share.micro_batches() << " x " << share.rows << (s.train.recompute ? ", recomputed" : "")
      << "\n";
}

std::string in_gib_or_nothing(double bytes) {
  return bytes > 0 ? in_gib(bytes) : "";
}

void print_memory(const PlanReport& r, std::ostream& out) {
  const MemoryEstimate& memory = r.planned.memory;
  const bool beside = memory.host.total() > 0;
  out << "\nmemory of a rank, GiB\n";
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const std::string& name, double here, double host) {
    rows.push_back({name, in_gib_or_nothing(here)});
    if (beside)
      rows.back().push_back(in_gib_or_nothing(host));
  };
  if (beside)
    rows.push_back({"", is_cpu(r.machine) ? "" : "device", "host"});
  for (const MemoryPart& part : parts_of(memory))
    if (part.here > 0 || part.host > 0)
      add(part.name, part.here, part.host);
  add("at its fullest", memory.total(), memory.host.total());
  print_rows(rows, out);
  out << "  (of loss chunk and block in work only the larger is there at a time; evaluation and "
         "optimizer in work\n"
         "  are beside neither of them nor activations; the block-wise stage and uncut models are "
         "gone before these come)\n  "
      << (r.fits() ? "fits" : "DOES NOT FIT") << " into " << fixed(r.machine.memory_gib, 1)
      << " GiB";
  if (beside && !is_cpu(r.machine))
    out << " and " << fixed(r.machine.host_gib, 1) << " GiB of host memory";
  out << "\n";
}

/// Steps between checkpoints; once a run where they come seldom.
int64_t checkpoint_every(double wanted, int64_t steps) {
  return std::clamp<int64_t>(static_cast<int64_t>(std::min(wanted, 1e18)), 1, steps);
}

void print_time(const PlanReport& r, std::ostream& out) {
  const ScalePoint& p = r.planned.scale;
  const auto all = static_cast<double>(r.planned.share.ranks);
  out << "\ntime of a step\n";
  std::vector<std::vector<std::string>> rows{
      {"student", seconds_text(p.time.student)},
      {"teacher", seconds_text(p.time.teacher)},
      {"optimizer, quantizers", seconds_text(p.time.optimizer)},
      {"exposed communication", seconds_text(p.time.exposed)}};
  if (p.time.copied > 0)
    rows.push_back({"exposed copies, host memory", seconds_text(p.time.uncovered)});
  rows.push_back({"the slowest rank", seconds_text(p.waiting)});
  rows.push_back({"all", seconds_text(p.step())});
  print_rows(rows, out);
  out << "  a rank sends " << run::short_number(p.time.sent / 1e9, 3) << " GB in "
      << seconds_text(p.time.network) << " of network";
  if (p.time.copied > 0)
    out << ", and moves " << run::short_number(p.time.copied / 1e9, 3)
        << " GB to and from host memory in " << seconds_text(p.time.copies);
  out << "\n";
  const double rate = r.planned.tokens_per_second(r.work);
  const int64_t steps = r.work.settings.train.steps;
  out << "\nrun      " << fixed(rate, 0) << " tokens/s, " << fixed(rate / all, 0)
      << " a rank, KD-MFU " << run::short_number(100 * kd_mfu(r), 3) << " %; " << steps
      << " steps, " << scaled(r.work.tokens() * static_cast<double>(steps))
      << "tokens: " << seconds_text(static_cast<double>(steps) * p.step_with_failures()) << ", "
      << run::short_number(r.planned.gpu_hours(r.work), 4) << " GPU-hours\n";
  const Failures& f = p.failures;
  out << "faults   one in " << run::short_number(f.between / 3600, 3) << " h; a checkpoint of "
      << in_gib(checkpoint_bytes(r.work)) << " GiB in " << seconds_text(f.checkpoint)
      << ", best every " << seconds_text(f.interval)
      << " (train.checkpoint_every=" << checkpoint_every(f.interval / p.step(), steps) << "); "
      << run::short_number(100 * f.lost, 2) << " % lost, counted above\n";
}

void print_strategies(const PlanReport& r, std::ostream& out) {
  if (r.strategies.empty())
    return;
  out << "\ndist.strategy, dist.teacher: GiB of a rank, tokens/s\n";
  std::vector<std::vector<std::string>> rows;
  for (const Sharded& each : r.strategies) {
    rows.push_back({each.dist.strategy + (r.work.teacher ? ", " + each.dist.teacher : ""),
                    in_gib(each.planned.memory.total()),
                    fixed(each.planned.tokens_per_second(r.work), 0),
                    has_room(each.planned, r.machine) ? "fits" : ""});
  }
  print_rows(rows, out);
}

std::string joined(const std::vector<std::string>& changes) {
  std::string text;
  for (const std::string& change : changes)
    text += (text.empty() ? "" : " ") + change;
  return text;
}

void print_remedies(const PlanReport& r, std::ostream& out) {
  if (r.fits())
    return;
  out << "\nwhat else helps, tried one by one: GiB of a rank, tokens/s\n";
  std::vector<std::vector<std::string>> rows;
  const auto add = [&](const Remedy& remedy) {
    const double host = remedy.planned.memory.host.total();
    rows.push_back({joined(remedy.changes),
                    in_gib(remedy.planned.memory.total()),
                    is_cpu(r.machine) ? "" : "host " + in_gib(host),
                    fixed(remedy.planned.tokens_per_second(r.work), 0),
                    has_room(remedy.planned, r.machine) ? "fits" : ""});
  };
  for (const Remedy& remedy : r.single)
    if (!remedy.changes.front().starts_with("dist."))  // those stand above
      add(remedy);
  print_rows(rows, out);
  rows.clear();
  add(r.together);
  const bool enough = has_room(r.together.planned, r.machine);
  out << (enough ? "together, as little as is enough\n"
                 : "together, and still too much: more ranks, or GPUs with more memory\n");
  print_rows(rows, out);
}

}  // namespace

void print_report(const PlanReport& r, std::ostream& out) {
  const run::Settings& s = r.work.settings;
  const int64_t ranks = r.planned.share.ranks;
  const int64_t nodes = nodes_of(ranks, r.machine);
  out << ranks << (ranks == 1 ? " rank, " : " ranks, ") << nodes
      << (nodes == 1 ? " node" : " nodes") << " of " << r.machine.like << ", " << s.dist.strategy
      << (r.work.teacher ? ", teacher " + s.dist.teacher : "") << "\n";
  print_models(r, out);
  print_memory(r, out);
  print_strategies(r, out);
  print_remedies(r, out);
  print_time(r, out);
  out << machine_text(r.machine);
}

void print_scaling(const std::vector<ScalePoint>& points,
                   const Workload& work,
                   const Machine& machine,
                   std::ostream& out) {
  const int64_t first = points.front().ranks;
  out << "weak scaling on " << machine.like << ", " << work.settings.dist.strategy << ": "
      << work.samples() / first << " x " << work.settings.train.seq_len << " tokens a rank\n";
  std::vector<std::vector<std::string>> rows{{"ranks",
                                              "step",
                                              "exposed",
                                              "slowest",
                                              "tok/s a rank",
                                              "scaling",
                                              "failure every",
                                              "lost",
                                              "with failures"}};
  const double begun = points.front().step();
  const double begun_with = points.front().step_with_failures();
  for (const ScalePoint& p : points)
    rows.push_back({std::to_string(p.ranks),
                    seconds_text(p.step()),
                    fixed(100 * p.time.exposed / p.step(), 2) + " %",
                    fixed(100 * p.waiting / p.step(), 2) + " %",
                    fixed(rank_rate(p, work, first), 0),
                    fixed(100 * begun / p.step(), 1) + " %",
                    run::short_number(p.failures.between / 3600, 3) + " h",
                    fixed(100 * p.failures.lost, 2) + " %",
                    fixed(100 * begun_with / p.step_with_failures(), 1) + " %"});
  print_rows(rows, out);
  out << machine_text(machine);
}

}  // namespace sterna::plan
