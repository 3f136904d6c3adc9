// `sterna plan` as JSON, and the figures that its text shares with it.
#include <nlohmann/json.hpp>

#include "trainer/plan/figures.h"

namespace sterna::plan {

using nlohmann::ordered_json;

std::vector<MemoryPart> parts_of(const MemoryEstimate& m) {
  return {{"weights", m.compute},
          {"masters", m.masters, m.host.masters},
          {"gradients", m.gradients, m.host.gradients},
          {"moments", m.moments, m.host.moments},
          {"quantizers", m.quantizers, m.host.quantizers},
          {"average", m.average, m.host.average},
          {"teacher", m.teacher},
          {"activations", m.activations, m.host.activations},
          {"loss chunk", m.loss},
          {"block in work", m.working},
          {"exchange buffers", m.buffers},
          {"optimizer in work", m.update},
          {"block-wise stage", m.streams},
          {"evaluation", m.evaluation},
          {"uncut models", m.uncut},
          {"checkpoint copy", m.copy, m.host.copy},
          {"program", m.program}};
}

run::StepFlops flops_of(const Workload& work) {
  return run::step_flops(
      work.student, work.teacher ? &*work.teacher : nullptr, work.settings.train.seq_len);
}

double kd_mfu(const PlanReport& r) {
  const run::StepFlops flops = flops_of(r.work);
  const double peak = r.machine.peak_tflops * 1e12 * static_cast<double>(r.planned.share.ranks);
  return r.planned.tokens_per_second(r.work) * (flops.student + flops.teacher) / peak;
}

int64_t nodes_of(int64_t ranks, const Machine& machine) {
  return (ranks + machine.per_node - 1) / machine.per_node;
}

double rank_rate(const ScalePoint& point, const Workload& work, int64_t first) {
  return work.tokens() / static_cast<double>(first) / point.step();
}

bool PlanReport::fits() const {
  return has_room(planned, machine);
}

namespace {

/// A struct's fields as an object.
struct JsonFields {
  ordered_json object{};
  template <class T, class... More>
  void operator()(const char* name, const T& value, const More&...) {
    object[name] = value;
  }
};

ordered_json json_of(const Machine& machine) {
  JsonFields fields;
  Machine copy = machine;
  copy.fields(fields);
  return fields.object;
}

ordered_json json_of(const ScalePoint& p) {
  return {{"student_s", p.time.student},
          {"teacher_s", p.time.teacher},
          {"optimizer_s", p.time.optimizer},
          {"network_s", p.time.network},
          {"exposed_s", p.time.exposed},
          {"slowest_rank_s", p.waiting},
          {"step_s", p.step()},
          {"sent_bytes", p.time.sent},
          {"copies_s", p.time.copies},
          {"uncovered_copies_s", p.time.uncovered},
          {"copied_bytes", p.time.copied},
          {"checkpoint_s", p.failures.checkpoint},
          {"checkpoint_interval_s", p.failures.interval},
          {"failure_every_s", p.failures.between},
          {"lost", p.failures.lost}};
}

ordered_json json_of(const Remedy& remedy, const PlanReport& r) {
  return {{"changes", remedy.changes},
          {"memory_bytes", remedy.planned.memory.total()},
          {"host_memory_bytes", remedy.planned.memory.host.total()},
          {"tokens_per_s", remedy.planned.tokens_per_second(r.work)},
          {"fits", has_room(remedy.planned, r.machine)}};
}

ordered_json head_of(const Workload& work, const Machine& machine) {
  const run::StepFlops flops = flops_of(work);
  const PartSize all = sum_of(work.parts);
  return {{"format", 1},
          {"machine", json_of(machine)},
          {"strategy", work.settings.dist.strategy},
          {"teacher", work.settings.dist.teacher},
          {"reduce_dtype", work.settings.dist.reduce_dtype},
          {"parameters", all.matrices + all.vectors},
          {"quantized", all.quantized},
          {"trained", all.trained},
          {"teacher_parameters", work.teacher ? work.teacher->parameters() : 0},
          {"student_flops_per_token", flops.student},
          {"teacher_flops_per_token", flops.teacher}};
}

}  // namespace

ordered_json to_json(const PlanReport& r) {
  ordered_json json = head_of(r.work, r.machine);
  const Share& share = r.planned.share;
  json["ranks"] = share.ranks;
  json["samples"] = r.work.samples();
  json["seq_len"] = r.work.settings.train.seq_len;
  json["micro_batch"] = share.rows;
  json["micro_batches"] = share.micro_batches();
  for (const MemoryPart& part : parts_of(r.planned.memory)) {
    std::string key = part.name;
    std::replace_if(
        key.begin(), key.end(), [](char c) { return c == ' ' || c == '-'; }, '_');
    json["memory"][key] = part.here;
    if (part.host > 0)
      json["host_memory"][key] = part.host;
  }
  json["memory"]["total"] = r.planned.memory.total();
  json["memory"]["room"] = memory_of(r.machine);
  json["host_memory"]["total"] = r.planned.memory.host.total();
  json["host_memory"]["room"] =
      is_cpu(r.machine) ? memory_of(r.machine) : host_memory_of(r.machine);
  json["fits"] = r.fits();
  json["step"] = json_of(r.planned.scale);
  json["tokens_per_s"] = r.planned.tokens_per_second(r.work);
  json["kd_mfu"] = kd_mfu(r);
  json["steps"] = r.work.settings.train.steps;
  json["tokens"] = r.work.tokens() * static_cast<double>(r.work.settings.train.steps);
  json["gpu_hours"] = r.planned.gpu_hours(r.work);
  json["checkpoint_bytes"] = checkpoint_bytes(r.work);
  json["strategies"] = ordered_json::array();
  for (const Sharded& each : r.strategies)
    json["strategies"].push_back({{"strategy", each.dist.strategy},
                                  {"teacher", each.dist.teacher},
                                  {"memory_bytes", each.planned.memory.total()},
                                  {"tokens_per_s", each.planned.tokens_per_second(r.work)},
                                  {"fits", has_room(each.planned, r.machine)}});
  json["remedies"] = ordered_json::array();
  for (const Remedy& remedy : r.single)
    json["remedies"].push_back(json_of(remedy, r));
  if (!r.fits())
    json["together"] = json_of(r.together, r);
  return json;
}

ordered_json to_json(const std::vector<ScalePoint>& points,
                     const Workload& work,
                     const Machine& machine) {
  ordered_json json = head_of(work, machine);
  json["points"] = ordered_json::array();
  for (const ScalePoint& p : points) {
    ordered_json point = {{"ranks", p.ranks}, {"nodes", nodes_of(p.ranks, machine)}};
    point.update(json_of(p));
    point["tokens_per_s_a_rank"] = rank_rate(p, work, points.front().ranks);
    point["scaling"] = points.front().step() / p.step();
    point["scaling_with_failures"] = points.front().step_with_failures() / p.step_with_failures();
    json["points"].push_back(point);
  }
  return json;
}

}  // namespace sterna::plan
