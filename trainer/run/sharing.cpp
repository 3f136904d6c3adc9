#include "trainer/run/sharing.h"

namespace sterna::run {
namespace {

std::shared_ptr<WeightShards> shards_of(Student& student, dist::World& world, bool frees) {
  WeightShards::Parts parts(parts_of(student.decoder()));
  for (Slot* slot : student.all())
    parts[part_of(student, *slot)].push_back({slot->value, slot->rows_by_rank});
  auto shards = std::make_shared<WeightShards>(world, parts, frees);
  for (Slot* slot : student.all()) {
    slot->own_value = shards->own_rows(slot->value);
    slot->stale = true;
  }
  return shards;
}

}  // namespace

Sharing::Sharing(Student& student, dist::World& world, const DistConfig& config)
    : student_(student), world_(world), config_(config), sharded_(config.strategy != "ddp") {
  if (sharded_) {
    weights_ = shards_of(student, world, /*frees=*/config.strategy == "zero3");
    student.share(weights_);
  }
  follow_student();
}

void Sharing::follow_student() {
  drop_grad(student_.all());
  gradients_ =
      sharded_ ? make_scatter(student_, world_, config_) : make_buckets(student_, world_, config_);
}

Sharing::~Sharing() {
  if (weights_)
    student_.share(nullptr);
  if (taught_by_ != nullptr)
    taught_by_->set_gate(nullptr);
}

void Sharing::share_teacher(model::Decoder& teacher, std::shared_ptr<WeightShards> shards) {
  teacher_ = shards ? std::move(shards) : share_frozen(teacher, world_);
  taught_by_ = &teacher;
}

void Sharing::start() {
  gradients_->start();
}

void Sharing::micro_batch(bool last) {
  gradients_->micro_batch(last);
  if (weights_)
    weights_->turn(/*back=*/false);
}

void Sharing::enter_head() {
  const int64_t part = head_part(student_.decoder());
  if (weights_) {
    weights_->turn(/*back=*/true);
    weights_->hold(part);
  }
  if (teacher_)
    teacher_->hold(head_part(*taught_by_));
  gradients_->open(part);
}

void Sharing::leave_head() {
  const int64_t part = head_part(student_.decoder());
  if (teacher_)
    teacher_->leave(head_part(*taught_by_));
  if (weights_)
    weights_->leave(part);
  if (part != 0)  // a tied head's gradient grows on until the embedding's way back
    gradients_->close(part);
}

void Sharing::hold_heads() {
  if (weights_)
    weights_->hold(head_part(student_.decoder()));
  if (teacher_)
    teacher_->hold(head_part(*taught_by_));
}

void Sharing::leave_heads() {
  if (teacher_)
    teacher_->leave(head_part(*taught_by_));
  if (weights_)
    weights_->leave(head_part(student_.decoder()));
}

void Sharing::enter(int64_t part) {
  if (weights_)
    weights_->enter(part);
  gradients_->open(part);
}

void Sharing::leave(int64_t part) {
  if (weights_)
    weights_->leave(part);
  gradients_->close(part);
}

void Sharing::finish() {
  gradients_->finish();
  if (weights_)
    weights_->settle();
}

void Sharing::sum(std::vector<double>& values) const {
  if (!sharded_)
    return;
  const Tensor all = at::tensor(values, at::kDouble);
  world_.all_reduce({all})->wait();
  std::copy_n(all.const_data_ptr<double>(), values.size(), values.begin());
}

}  // namespace sterna::run
