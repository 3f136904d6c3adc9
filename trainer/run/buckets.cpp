// Distributed data parallel training as in Li et al., "PyTorch Distributed" (arXiv:2006.15704):
// gradients lie in flat buckets in the order in which the way back completes them, and a bucket's
// sum travels while the blocks before it compute. The border of a block takes the place of the
// paper's hooks behind single gradients.
#include "trainer/run/copier.h"
#include "trainer/run/gradient_exchange.h"

namespace sterna::run {
namespace {

class Buckets final : public GradientExchange {
 public:
  Buckets(Student& student, dist::World& world, const DistConfig& config)
      : world_(world),
        bf16_(config.reduce_dtype == "bf16"),
        places_(student.places()),
        down_(make_copier(places_.compute)) {
    const auto room = static_cast<int64_t>(config.bucket_mib * 1024 * 1024 / sizeof(float));
    std::vector<Slot*> filling;
    int64_t filled = 0;
    for (Slot* slot : in_order(student)) {
      const int64_t count = slot->master.numel();
      if (!filling.empty() && filled + count > room) {
        add_bucket(student, filling, filled);
        filling.clear();
        filled = 0;
      }
      filling.push_back(slot);
      filled += count;
    }
    if (!filling.empty())
      add_bucket(student, filling, filled);
  }

  void start() override {
    for (Bucket& bucket : buckets_)
      bucket.flat.zero_();
    started_ = arrived_ = 0;
    last_ = false;
  }

  void micro_batch(bool last) override { last_ = last; }

  void open(int64_t) override {}

  void close(int64_t part) override {
    while (last_ && started_ < buckets_.size() && buckets_[started_].lowest_part >= part) {
      // What is to come down does so while the next sums travel; else all are waited for at the
      // end.
      if (places_.apart())
        receive_all();
      send(buckets_[started_++]);
    }
  }

  void finish() override {
    while (started_ < buckets_.size())  // of a rank without samples, or one that was stopped
      send(buckets_[started_++]);
    receive_all();
    down_->wait();
  }

  int64_t bytes() const override {
    int64_t sum = 0;
    for (const Bucket& bucket : buckets_)
      sum += static_cast<int64_t>(bucket.flat.nbytes()) +
             (bucket.rounded.defined() ? static_cast<int64_t>(bucket.rounded.nbytes()) : 0);
    return sum;
  }

 private:
  struct Bucket {
    Tensor flat;              // fp32
    int64_t lowest_part = 0;  // complete when this one is
    Tensor rounded;           // under way in place of it
    Tensor below;             // where the masters are, if that is elsewhere
    dist::WorkHandle work;
  };

  static std::vector<Slot*> in_order(Student& student) {
    std::vector<Slot*> slots;
    for (Slot* slot : student.all())
      if (slot->trained())
        slots.insert(slots.begin(), slot);
    std::stable_sort(slots.begin(), slots.end(), [&](const Slot* a, const Slot* b) {
      return part_of(student, *a) > part_of(student, *b);
    });
    return slots;
  }

  void add_bucket(Student& student, const std::vector<Slot*>& slots, int64_t count) {
    Bucket bucket;
    bucket.flat = at::zeros({count}, at::TensorOptions(places_.compute).dtype(at::kFloat));
    bucket.lowest_part = part_of(student, *slots.back());
    if (places_.apart())
      bucket.below = host_like(bucket.flat);
    int64_t at = 0;
    for (Slot* slot : slots) {
      const auto own = [&](const Tensor& flat) {
        return flat.narrow(0, at, slot->master.numel()).view(slot->master.sizes());
      };
      *slot->grad = own(bucket.flat);
      slot->own_grad = places_.apart() ? own(bucket.below) : Tensor();
      at += slot->master.numel();
    }
    buckets_.push_back(std::move(bucket));
  }

  void send(Bucket& bucket) {
    if (bf16_)
      bucket.rounded = bucket.flat.to(at::kBFloat16);
    bucket.work = world_.all_reduce({bf16_ ? bucket.rounded : bucket.flat});
  }

  void receive_all() {
    while (arrived_ < started_) {
      Bucket& bucket = buckets_[arrived_++];
      bucket.work->wait();
      bucket.work.reset();
      if (bf16_)
        bucket.flat.copy_(bucket.rounded);
      bucket.rounded = Tensor();
      if (places_.apart())
        down_->start(bucket.below, bucket.flat);
    }
  }

  dist::World& world_;
  bool bf16_;
  Places places_;
  std::vector<Bucket> buckets_;
  std::unique_ptr<Copier> down_;
  size_t started_ = 0;
  size_t arrived_ = 0;
  bool last_ = false;
};

}  // namespace

int64_t part_of(Student& student, const Slot& slot) {
  const model::Decoder& decoder = student.decoder();
  const bool is_head = slot.value == &decoder.head_linear().weight;
  return is_head && !decoder.config().tied ? decoder.config().layers + 2 : slot.layer + 1;
}

std::unique_ptr<GradientExchange> make_buckets(Student& student,
                                               dist::World& world,
                                               const DistConfig& config) {
  return std::make_unique<Buckets>(student, world, config);
}

}  // namespace sterna::run
