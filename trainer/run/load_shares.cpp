#include "trainer/run/load_shares.h"

#include "quant/scale.h"
#include "trainer/model/activations.h"
#include "trainer/model/adapters.h"
#include "trainer/model/same_tokens.h"
#include "trainer/run/weight_shards.h"

namespace sterna::run {

bool loads_shares(const Session& session) {
  const DistConfig& dist = session.settings.dist;
  return (dist.shards() || dist.teacher == "sharded") && !session.settings.blockwise_wanted() &&
         !session.ranges.wanted();
}

bool loads_teacher_share(const Session& session) {
  return loads_shares(session) && session.settings.dist.teacher == "sharded" &&
         session.teacher_plan.empty();
}

Shares student_shares(const Session& session, model::Decoder& decoder) {
  if (!loads_shares(session) || !session.settings.dist.shards())
    return {};
  return shares_of(decoder, session.world->size(), cuts_by_row(session.plan, /*step=*/0));
}

std::map<std::string, Tensor> load_masters(const Session& session,
                                           model::Decoder& decoder,
                                           model::WeightSource& source,
                                           const Shares& shares) {
  std::map<std::string, Tensor> masters =
      model::initial_adapters(decoder, session.settings.train.seed);
  if (shares.empty()) {
    for (const model::Parameter& p : decoder.parameters())
      if (!p.adapter)
        masters.emplace(p.name, source.take(p.name, at::kFloat));
    return masters;
  }
  // What stays is asked for before what goes, between which the heap would be left with holes.
  std::map<std::string, Tensor> own;
  for (const model::Parameter& p : decoder.parameters()) {
    std::vector<int64_t> shape = p.shape;
    shape[0] = shares.at(p.name)[session.world->rank()].count();
    own.emplace(p.name, at::empty(shape, at::kFloat));
  }
  for (auto& [name, rows] : own) {
    const auto adapter = masters.find(name);
    const Tensor whole = adapter != masters.end() ? adapter->second : source.take(name, at::kFloat);
    rows.copy_(whole.narrow(0, shares.at(name)[session.world->rank()].begin, rows.size(0)));
  }
  return own;
}

void load_teacher_share(Session& session) {
  const model::CheckpointInfo& info = session.teacher_source;
  const auto source = model::open_weights(info);
  session.teacher = std::make_unique<model::Decoder>(
      info.config, quant::parse_dtype(session.settings.teacher.dtype));
  model::Decoder& teacher = *session.teacher;
  const auto whole = [&](const model::Parameter& p) {
    return source->take(p.name, p.matrix ? teacher.compute_dtype() : at::kFloat);
  };
  session.teacher_shards = load_frozen(teacher, *session.world, whole, session.device);
  model::attach_activations(teacher, source->activations(), info.path.string());
  model::require_ready(teacher);
}

}  // namespace sterna::run
