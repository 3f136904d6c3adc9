#include "trainer/model/quantizers.h"
#include "trainer/run/load_shares.h"
#include "trainer/run/run.h"

namespace sterna::run {
namespace {

/// The plans of the steps from `step` on, one a stage.
std::vector<quant::Plan> plans_from(const quant::Plan& plan, int64_t step) {
  std::vector<quant::Plan> plans{plan.at(step)};
  for (int64_t next = step + 1; next <= plan.stages_end(); ++next)
    if (plan.stage_at(next) != plan.stage_at(next - 1))
      plans.push_back(plan.at(next));
  return plans;
}

void cut_student(Run& run) {
  Session& session = run.session;
  const CutsByRow of_plans = cuts_by_row(session.plan, run.state.step);
  const auto by_row = [&](const model::Parameter& parameter) {
    return !(run.ranges && run.ranges->has(parameter.name)) && of_plans(parameter);
  };
  const quant::Plan now = session.plan.at(run.state.step);
  const auto quantizer_of = [&](const model::Parameter& parameter) {
    return model::build_quantizer(now, parameter);
  };
  cut(*session.student, run.optimizer, *session.world, quantizer_of, by_row);
}

/// An average that a checkpoint brought is one of whole tensors.
void cut_average(Run& run, const std::map<std::string, Tensor>& whole) {
  if (whole.empty())
    return;
  Student& student = *run.session.student;
  std::map<std::string, Tensor> own;
  for (const Slot& slot : student.slots()) {
    std::vector<std::string> names{slot.name};
    if (slot.quantizer)
      for (const quant::NamedTensor& each : slot.quantizer->parameters())
        names.push_back(model::quantizer_tensor(slot.name, each.name));
    for (const std::string& name : names)
      if (whole.contains(name) && !slot.absent())
        own[name] = rows_of(slot, whole.at(name));
  }
  begin_average(run);
  run.average->restore(own, run.state.saved);
}

}  // namespace

CutsByRow cuts_by_row(const quant::Plan& plan, int64_t step) {
  return [plans = plans_from(plan, step)](const model::Parameter& parameter) {
    return std::all_of(plans.begin(), plans.end(), [&](const quant::Plan& each) {
      const auto quantizer = model::build_quantizer(each, parameter);
      return quantizer == nullptr || quantizer->by_row(parameter.shape.back());
    });
  };
}

void share_out(Run& run) {
  Session& session = run.session;
  const DistConfig& config = session.settings.dist;
  if (config.shards() && !loads_shares(session)) {
    const std::map<std::string, Tensor> average =
        run.average ? run.average->tensors() : std::map<std::string, Tensor>();
    run.average.reset();
    cut_student(run);
    if (session.settings.train.only == "scales")
      session.student->hold_codes();
    cut_average(run, average);
  }
  run.sharing = std::make_unique<Sharing>(*session.student, *session.world, config);
  if (config.teacher == "sharded" && session.teacher)
    run.sharing->share_teacher(*session.teacher, session.teacher_shards);
}

}  // namespace sterna::run
