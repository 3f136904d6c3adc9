// The gradients' side of ZeRO (Rajbhandari et al., arXiv:1910.02054): a part's gradients are packed
// by the ranks that own their rows, and each rank receives the sum of its own.
#include <deque>

#include "trainer/run/copier.h"
#include "trainer/run/gradient_exchange.h"
#include "trainer/run/packing.h"
#include "trainer/run/sharing.h"
#include "trainer/run/storage.h"

namespace sterna::run {
namespace {

class Scatter final : public GradientExchange {
 public:
  Scatter(Student& student, dist::World& world, const DistConfig& config)
      : world_(world),
        dtype_(config.reduce_dtype == "bf16" ? at::kBFloat16 : at::kFloat),
        every_(config.strategy != "zero1"),
        places_(student.places()),
        down_(make_copier(places_.compute)) {
    for (int64_t i = 0; i < parts_of(student.decoder()); ++i)
      parts_.emplace_back(world.size());
    for (Slot* slot : student.all())
      if (slot->trained())
        parts_[part_of(student, *slot)].slots.push_back(slot);
    for (Part& part : parts_)
      allocate(part);
  }

  void start() override {
    for (Part& part : parts_) {
      if (part.own.defined())
        part.own.zero_();
      if (!every_)
        for (Slot* slot : part.slots)
          slot->grad->zero_();
    }
  }

  void micro_batch(bool last) override { sends_ = every_ || last; }

  void open(int64_t index) override {
    Part& part = parts_[index];
    if (!every_ || part.open)
      return;
    part.open = true;
    for (Slot* slot : part.slots) {
      give_storage(*slot->grad);
      slot->grad->zero_();
    }
  }

  void close(int64_t index) override {
    Part& part = parts_[index];
    if (!sends_ || part.slots.empty())
      return;
    settle();  // one sum travels while the next part computes; no more of its size are held
    part.sent = packed(part);
    part.received = at::empty({part.packing.segment()}, on_device());
    part.work = world_.reduce_scatter(part.received, part.sent);
    under_way_.push_back(&part);
    if (!every_)
      return;
    part.open = false;
    for (Slot* slot : part.slots)
      free_storage(*slot->grad);
  }

  void finish() override {
    settle();
    land();
  }

  int64_t bytes() const override {
    int64_t sum = 0;
    for (const Part& part : parts_) {
      for (const Slot* slot : part.slots)
        sum += storage_bytes(*slot->grad);
      for (const Tensor* each : {&part.own, &part.sent, &part.received})
        sum += storage_bytes(*each);
    }
    for (const Landing& each : landing_)
      sum += storage_bytes(each.received);
    return sum;
  }

 private:
  struct Part {
    explicit Part(int64_t ranks) : packing(ranks) {}
    std::vector<Slot*> slots;
    Packing packing;  // in elements
    Tensor own;       // fp32: sums of this rank's rows, where each micro-batch adds to them
    bool open = false;
    Tensor sent, received;  // under way
    dist::WorkHandle work;
  };

  /// What was received, on its way to where the masters are.
  struct Landing {
    Part* part;
    Tensor received, below;
  };

  void allocate(Part& part) {
    for (Slot* slot : part.slots) {
      const Tensor& value = *slot->value;
      part.packing.add(slot->rows_by_rank, value.numel() / std::max<int64_t>(value.size(0), 1));
      *slot->grad = at::zeros(value.sizes(), value.options().dtype(at::kFloat));
      if (every_)
        free_storage(*slot->grad);
    }
    if (every_ && !part.slots.empty())
      part.own =
          at::zeros({part.packing.segment()}, at::TensorOptions(places_.state).dtype(at::kFloat));
    for (size_t i = 0; i < part.slots.size(); ++i) {
      Slot& slot = *part.slots[i];
      if (every_)
        slot.own_grad = piece_of(part, part.own, i);
      else
        slot.own_grad = places_.apart() ? at::zeros(slot.master.sizes(), slot.master.options())
                                        : slot.grad->narrow(0, slot.rows.begin, slot.rows.count());
    }
  }

  /// This rank's rows of a slot in a segment.
  Tensor piece_of(const Part& part, const Tensor& segment, size_t slot) const {
    const Packing::Piece& own = part.packing.piece(slot, world_.rank());
    return segment.narrow(0, own.at, own.count).view(part.slots[slot]->master.sizes());
  }

  Tensor packed(const Part& part) const {
    const int64_t segment = part.packing.segment();
    Tensor all = at::zeros({world_.size() * segment}, on_device());
    for (size_t i = 0; i < part.slots.size(); ++i) {
      const Tensor grad = part.slots[i]->grad->flatten();
      for (int64_t rank = 0; rank < world_.size(); ++rank) {
        const Packing::Piece& piece = part.packing.piece(i, rank);
        if (piece.count == 0)
          continue;
        const int64_t row = piece.count / piece.rows.count();
        all.narrow(0, rank * segment + piece.at, piece.count)
            .copy_(grad.narrow(0, piece.rows.begin * row, piece.count));
      }
    }
    return all;
  }

  at::TensorOptions on_device() const { return at::TensorOptions(places_.compute).dtype(dtype_); }

  /// Sums that travel have arrived; those that go on to host memory do so beside the next part.
  void settle() {
    land();
    for (Part* part : under_way_) {
      part->work->wait();
      if (places_.apart()) {
        landing_.push_back({part, part->received, host_like(part->received)});
        down_->start(landing_.back().below, part->received);
      } else {
        take(*part, part->received);
      }
      part->work.reset();
      part->sent = part->received = Tensor();
    }
    under_way_.clear();
  }

  void land() {
    if (landing_.empty())
      return;
    down_->wait();
    for (const Landing& each : landing_)
      take(*each.part, each.below);
    landing_.clear();
  }

  void take(Part& part, const Tensor& sums) {
    if (every_)
      part.own.add_(sums);
    else
      for (size_t i = 0; i < part.slots.size(); ++i)
        part.slots[i]->own_grad.copy_(piece_of(part, sums, i));
  }

  dist::World& world_;
  at::ScalarType dtype_;
  bool every_;
  Places places_;
  bool sends_ = false;
  std::vector<Part> parts_;
  std::deque<Part*> under_way_;
  std::vector<Landing> landing_;
  std::unique_ptr<Copier> down_;
};

}  // namespace

std::unique_ptr<GradientExchange> make_scatter(Student& student,
                                               dist::World& world,
                                               const DistConfig& config) {
  return std::make_unique<Scatter>(student, world, config);
}

}  // namespace sterna::run
