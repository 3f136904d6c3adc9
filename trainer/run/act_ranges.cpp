#include "trainer/run/act_ranges.h"

namespace sterna::run {

ActRanges::ActRanges(model::Decoder& decoder) {
  for (const model::ActSite& site : decoder.act_sites())
    if (*site.quantizer && (*site.quantizer)->learns())
      learning_.push_back(*site.quantizer);
}

void ActRanges::start() {
  for (const auto& act : learning_)
    act->start_step();
}

void ActRanges::finish(dist::World& world) {
  if (learning_.empty())
    return;
  const auto sites = static_cast<int64_t>(learning_.size());
  at::Tensor all = at::zeros({world.size(), sites, 2});
  for (int64_t i = 0; i < sites; ++i)
    all[world.rank()][i].copy_(learning_[static_cast<size_t>(i)]->seen());
  world.all_reduce({all})->wait();  // every rank has its own place: a sum gathers them
  const at::Tensor least = all.select(2, 0).amin(0);
  const at::Tensor largest = all.select(2, 1).amax(0);
  for (int64_t i = 0; i < sites; ++i)
    learning_[static_cast<size_t>(i)]->end_step(at::stack({least[i], largest[i]}));
}

}  // namespace sterna::run
