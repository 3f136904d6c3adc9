#include "trainer/plan/planning.h"

#include <functional>

namespace sterna::plan {
namespace {

/// Changes a recipe. @return  what to write; empty where there is nothing to change
using Change = std::function<std::string(Workload& work, int64_t ranks)>;

Change strategy(const std::string& name) {
  return [name](Workload& work, int64_t ranks) -> std::string {
    std::string& now = work.settings.dist.strategy;
    if (ranks == 1 || now >= name)  // "ddp" < "zero1" < "zero2" < "zero3"
      return {};
    now = name;
    return "dist.strategy=" + name;
  };
}

std::string shard_teacher(Workload& work, int64_t ranks) {
  std::string& now = work.settings.dist.teacher;
  if (ranks == 1 || now == "sharded" || !work.teacher)
    return {};
  now = "sharded";
  return "dist.teacher=sharded";
}

std::string low_precision(const std::string& key, std::string& dtype) {
  if (dtype == "bf16")
    return {};
  dtype = "bf16";
  return key + "=bf16";
}

std::string teacher_in_bf16(Workload& work, int64_t) {
  return work.teacher_parts.empty() ? ""
                                    : low_precision("teacher.dtype", work.settings.teacher.dtype);
}

std::string student_in_bf16(Workload& work, int64_t) {
  return low_precision("model.dtype", work.settings.model.dtype);
}

std::string teacher_in_8_bits(Workload& work, int64_t) {
  if (!work.teacher || sum_of(work.teacher_parts).packed > 0)
    return {};
  constexpr const char* kChange = "teacher.quant.weight={name=\"minmax_sym\",bits=8}";
  recipes::Recipe recipe;
  recipe.set(kChange);
  const auto plan = quant::Plan::read(recipe.section("teacher").sub("quant"));
  work.teacher_parts = teacher_parts(*work.teacher, plan);
  return kChange;
}

std::string run_blocks_again(Workload& work, int64_t) {
  bool& now = work.settings.train.recompute;
  if (now)
    return {};
  now = true;
  return "train.recompute=true";
}

std::string half_batch(Workload& work, int64_t ranks) {
  run::TrainConfig& train = work.settings.train;
  const int64_t rows = share_among(work, ranks).rows;
  const int64_t half = rows / 2;
  if (rows % 2 != 0)
    return {};
  train.accumulate = work.samples() / half;
  train.batch = half;
  return "train.batch=" + std::to_string(half) +
         " train.accumulate=" + std::to_string(train.accumulate);
}

/// In the order in which they are worth trying: what costs no time first.
std::vector<Change> changes() {
  return {strategy("zero1"),
          teacher_in_bf16,
          student_in_bf16,
          strategy("zero2"),
          half_batch,
          shard_teacher,
          teacher_in_8_bits,
          strategy("zero3"),
          run_blocks_again,
          half_batch,
          half_batch,
          half_batch,
          half_batch,
          half_batch};
}

bool fits(const Planned& planned, const Machine& machine) {
  return planned.memory.total() <= memory_of(machine);
}

}  // namespace

double memory_of(const Machine& machine) {
  return machine.memory_gib * kGiB;
}

Planned planned(const Workload& work, int64_t ranks, const Machine& machine) {
  Planned result;
  result.share = share_among(work, ranks);
  result.memory = estimate_memory(work, result.share, machine.reserved_gib * kGiB);
  if (machine.like == "cpu")  // elsewhere it is in host memory, which is not what is planned
    result.memory.copy = checkpoint_copy(work, ranks);
  result.scale = scale_point(work, result.share, machine);
  return result;
}

std::vector<Sharded> every_strategy(const Workload& work, int64_t ranks, const Machine& machine) {
  std::vector<Sharded> all;
  if (ranks == 1)
    return all;
  Workload changed = work;
  for (const char* strategy : {"ddp", "zero1", "zero2", "zero3"}) {
    changed.settings.dist.strategy = strategy;
    for (const char* teacher : {"replicated", "sharded"}) {
      changed.settings.dist.teacher = teacher;
      if (teacher == std::string("replicated") || work.teacher)
        all.push_back({changed.settings.dist, planned(changed, ranks, machine)});
    }
  }
  return all;
}

std::vector<Remedy> single_remedies(const Workload& work, int64_t ranks, const Machine& machine) {
  const double before = planned(work, ranks, machine).memory.total();
  std::vector<Remedy> remedies;
  for (const Change& change : changes()) {
    Workload changed = work;
    Remedy remedy{{change(changed, ranks)}, {}};
    const bool tried = std::any_of(remedies.begin(), remedies.end(), [&](const Remedy& each) {
      return each.changes == remedy.changes;
    });
    if (tried || remedy.changes.front().empty())
      continue;
    remedy.planned = planned(changed, ranks, machine);
    if (remedy.planned.memory.total() < before)
      remedies.push_back(std::move(remedy));
  }
  return remedies;
}

Remedy remedies_until_it_fits(const Workload& work, int64_t ranks, const Machine& machine) {
  Workload changed = work;
  Remedy remedy{{}, planned(work, ranks, machine)};
  for (const Change& change : changes()) {
    if (fits(remedy.planned, machine))
      break;
    const Workload before = changed;
    const std::string said = change(changed, ranks);
    if (said.empty())
      continue;
    Planned now = planned(changed, ranks, machine);
    if (now.memory.total() >= remedy.planned.memory.total()) {
      changed = before;
      continue;
    }
    // The same key said twice is said once, as it is now.
    const std::string key = said.substr(0, said.find('=') + 1);
    std::erase_if(remedy.changes, [&](const std::string& each) { return each.starts_with(key); });
    remedy.changes.push_back(said);
    remedy.planned = std::move(now);
  }
  return remedy;
}

}  // namespace sterna::plan
