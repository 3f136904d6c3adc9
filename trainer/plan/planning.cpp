#include "trainer/plan/planning.h"

#include <functional>
#include <sstream>

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

/// Of host memory a CPU has no other.
std::string offload_inputs(Workload& work, int64_t) {
  std::string& now = work.settings.memory.offload;
  if (!now.empty() || !on_device(work))
    return {};
  now = "activations";
  const std::string again = run_blocks_again(work, 1);
  return again + (again.empty() ? "" : " ") + "memory.offload=activations";
}

std::string offload_optimizer(Workload& work, int64_t) {
  std::string& now = work.settings.memory.offload;
  if (now == "optimizer" || !on_device(work))
    return {};
  now = "optimizer";
  return "memory.offload=optimizer";
}

/// In the order in which they are worth trying: what costs no time first.
const std::vector<Change>& changes() {
  static const std::vector<Change> all = {strategy("zero1"),
                                          teacher_in_bf16,
                                          student_in_bf16,
                                          strategy("zero2"),
                                          half_batch,
                                          shard_teacher,
                                          teacher_in_8_bits,
                                          strategy("zero3"),
                                          run_blocks_again,
                                          offload_inputs,
                                          half_batch,
                                          half_batch,
                                          half_batch,
                                          half_batch,
                                          half_batch,
                                          offload_optimizer};
  return all;
}

/// Adds "key=value key=value"; a key that is there already is said once, as it is now.
void add_keys(std::vector<std::string>& said, const std::string& more) {
  std::istringstream words(more);
  for (std::string word; words >> word;) {
    const std::string key = word.substr(0, word.find('=') + 1);
    std::erase_if(said, [&](const std::string& each) { return each.starts_with(key); });
    said.push_back(word);
  }
}

/// A recipe under some changes, each in the state in which those before leave it.
struct Tried {
  std::vector<size_t> which;  ///< of changes()
  Workload work;
  Remedy remedy;
};

Tried with_changes(const Workload& work,
                   const std::vector<size_t>& which,
                   int64_t ranks,
                   const Machine& machine) {
  Tried tried{{}, work, {}};
  for (const size_t each : which) {
    const std::string said = changes()[each](tried.work, ranks);
    if (said.empty())
      continue;
    tried.which.push_back(each);
    add_keys(tried.remedy.changes, said);
  }
  tried.remedy.planned = planned(tried.work, ranks, machine);
  return tried;
}

}  // namespace

double memory_of(const Machine& machine) {
  return machine.memory_gib * kGiB;
}

double host_memory_of(const Machine& machine) {
  return machine.host_gib * kGiB;
}

bool has_room(const Planned& planned, const Machine& machine) {
  const double here = planned.memory.total();
  const double host = planned.memory.host.total();
  if (is_cpu(machine))
    return here + host <= memory_of(machine);
  return here <= memory_of(machine) && host <= host_memory_of(machine);
}

Planned planned(const Workload& work, int64_t ranks, const Machine& machine) {
  Planned result;
  result.share = share_among(work, ranks);
  result.memory = estimate_memory(work, result.share, machine.reserved_gib * kGiB);
  (on_device(work) ? result.memory.host.copy : result.memory.copy) = checkpoint_copy(work, ranks);
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
  const auto with = [&](const std::vector<size_t>& which) {
    return with_changes(work, which, ranks, machine);
  };
  Tried best = with({});
  for (size_t next = 0; next < changes().size(); ++next) {
    if (has_room(best.remedy.planned, machine))
      break;
    std::vector<size_t> more = best.which;
    more.push_back(next);
    Tried now = with(more);
    if (now.remedy.planned.memory.total() < best.remedy.planned.memory.total())
      best = std::move(now);
  }
  if (!has_room(best.remedy.planned, machine))
    return best.remedy;
  for (size_t i = best.which.size(); i-- > 0;) {
    std::vector<size_t> fewer = best.which;
    fewer.erase(fewer.begin() + static_cast<std::ptrdiff_t>(i));
    if (Tried now = with(fewer); has_room(now.remedy.planned, machine))
      best = std::move(now);
  }
  return best.remedy;
}

}  // namespace sterna::plan
