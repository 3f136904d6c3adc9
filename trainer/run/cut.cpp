#include <numeric>

#include "trainer/model/quantizers.h"
#include "trainer/run/sharing.h"

namespace sterna::run {
namespace {

/// Weights that each rank has been given, to keep them even.
class EvenOwners {
 public:
  explicit EvenOwners(int64_t ranks) : all_(ranks, 0), of_part_(ranks, 0) {}

  /// For the weights of one part, the largest first: gathers move a part at a time, and each takes
  /// as long as its fullest rank.
  void begin_part() { std::fill(of_part_.begin(), of_part_.end(), 0); }

  int64_t give(int64_t weights) {
    size_t best = 0;
    for (size_t rank = 1; rank < all_.size(); ++rank)
      if (std::pair(of_part_[rank], all_[rank]) < std::pair(of_part_[best], all_[best]))
        best = rank;
    of_part_[best] += weights;
    all_[best] += weights;
    return static_cast<int64_t>(best);
  }

 private:
  std::vector<int64_t> all_;
  std::vector<int64_t> of_part_;
};

/// The tensors of `to` become the own rows of those of `from`.
void take_rows(const Slot& slot,
               const std::vector<quant::NamedTensor>& from,
               const std::vector<quant::NamedTensor>& to) {
  for (size_t i = 0; i < from.size(); ++i)
    Tensor(to[i].tensor).copy_(rows_of(slot, from[i].tensor));
}

void cut_slot(Slot& slot, std::unique_ptr<quant::Quantizer> fresh) {
  slot.master = rows_of(slot, slot.master).clone();
  slot.below = {};
  if (slot.quantizer && !slot.rows.whole()) {
    fresh->allocate(at::empty(slot.master.sizes()));
    if (!slot.absent()) {
      take_rows(slot, slot.quantizer->parameters(), fresh->parameters());
      take_rows(slot, slot.quantizer->buffers(), fresh->buffers());
    }
    slot.quantizer = std::move(fresh);
  }
  slot.soft = nullptr;
  slot.held.reset();
  slot.stale = true;
  *slot.grad = Tensor();
}

void cut_moments(Optimizer& optimizer, const Slot& slot, const std::string& name) {
  const auto found = optimizer.moments().find(name);
  if (found == optimizer.moments().end() || slot.rows.whole())
    return;
  if (slot.absent()) {
    optimizer.moments().erase(found);
    return;
  }
  for (Tensor* moment : {&found->second.first, &found->second.second})
    *moment = rows_of(slot, *moment).clone();
}

}  // namespace

Tensor rows_of(const Slot& slot, const Tensor& whole) {
  return slot.rows.whole() ? whole : whole.narrow(0, slot.rows.begin, slot.rows.count());
}

Shares shares_of(model::Decoder& decoder, int64_t ranks, const CutsByRow& by_row) {
  using model::Parameter;
  const std::vector<Parameter> parameters = decoder.parameters();
  const auto weights = [](const Parameter& p) {
    return std::accumulate(p.shape.begin(), p.shape.end(), int64_t{1}, std::multiplies<>());
  };
  Shares shares;
  EvenOwners owners(ranks);
  for (int64_t part = 0; part < parts_of(decoder); ++part) {
    std::vector<const Parameter*> whole;
    for (const Parameter& p : parameters) {
      if (part_of(decoder, p) != part)
        continue;
      if (!p.matrix || by_row(p))
        shares[p.name] = share_rows(p.shape[0], ranks);
      else
        whole.push_back(&p);
    }
    std::stable_sort(whole.begin(), whole.end(), [&](const Parameter* a, const Parameter* b) {
      return weights(*a) > weights(*b);
    });
    owners.begin_part();
    for (const Parameter* p : whole)
      shares[p->name] = give_rows(p->shape[0], ranks, owners.give(weights(*p)));
  }
  return shares;
}

void own(Student& student, const Shares& shares, int64_t rank) {
  for (Slot* slot : student.all()) {
    slot->rows_by_rank = shares.at(slot->name);
    slot->rows = slot->rows_by_rank[rank];
    TORCH_CHECK(slot->master.size(0) == slot->rows.count(), slot->name, ": not this rank's rows");
    if (slot->quantizer && slot->absent())
      slot->quantizer->allocate(slot->master);
  }
}

void cut(Student& student,
         Optimizer& optimizer,
         const dist::World& world,
         const QuantizerOf& quantizer_of,
         const CutsByRow& cuts_by_row) {
  const at::NoGradGuard no_grad;
  const Shares shares = shares_of(student.decoder(), world.size(), cuts_by_row);
  for (const model::Parameter& parameter : student.decoder().parameters()) {
    Slot& slot = *student.find(parameter.name);
    slot.rows_by_rank = shares.at(slot.name);
    slot.rows = slot.rows_by_rank[world.rank()];
    cut_moments(optimizer, slot, slot.name);
    if (slot.quantizer)
      for (const quant::NamedTensor& each : slot.quantizer->parameters())
        cut_moments(optimizer, slot, model::quantizer_tensor(slot.name, each.name));
    if (slot.absent())  // of what range losses learn, too
      std::erase_if(optimizer.moments(),
                    [&](const auto& each) { return each.first.starts_with(slot.name + "."); });
    cut_slot(slot, slot.quantizer ? quantizer_of(parameter) : nullptr);
  }
}

}  // namespace sterna::run
