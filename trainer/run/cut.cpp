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

/// Sets rows_by_rank of every slot.
void share_out(Student& student, int64_t ranks, const std::map<std::string, bool>& by_row) {
  EvenOwners owners(ranks);
  for (int64_t part = 0; part < parts_of(student.decoder()); ++part) {
    std::vector<Slot*> whole;
    for (Slot* slot : student.all()) {
      if (part_of(student, *slot) != part)
        continue;
      if (by_row.at(slot->name))
        slot->rows_by_rank = share_rows(slot->rows.total, ranks);
      else
        whole.push_back(slot);
    }
    std::stable_sort(whole.begin(), whole.end(), [](const Slot* a, const Slot* b) {
      return a->master.numel() > b->master.numel();
    });
    owners.begin_part();
    for (Slot* slot : whole)
      slot->rows_by_rank = give_rows(slot->rows.total, ranks, owners.give(slot->master.numel()));
  }
}

/// The tensors of `to` become the own rows of those of `from`.
void take_rows(const Slot& slot,
               const std::vector<quant::NamedTensor>& from,
               const std::vector<quant::NamedTensor>& to) {
  for (size_t i = 0; i < from.size(); ++i)
    Tensor(to[i].tensor).copy_(rows_of(slot, from[i].tensor));
}

void cut_slot(Slot& slot, std::unique_ptr<quant::Quantizer> fresh) {
  slot.master = rows_of(slot, slot.master).clone();
  if (slot.quantizer && !slot.rows.whole()) {
    fresh->allocate(slot.master.cpu());
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

void cut(Student& student,
         Optimizer& optimizer,
         const dist::World& world,
         const QuantizerOf& quantizer_of,
         const CutsByRow& cuts_by_row) {
  const at::NoGradGuard no_grad;
  std::map<std::string, bool> by_row;
  for (const model::Parameter& parameter : student.decoder().parameters())
    by_row[parameter.name] = !parameter.matrix || cuts_by_row(parameter);
  share_out(student, world.size(), by_row);
  for (const model::Parameter& parameter : student.decoder().parameters()) {
    Slot& slot = *student.find(parameter.name);
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
