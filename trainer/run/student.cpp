#include "trainer/run/student.h"

#include "recipes/glob.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/gradient_exchange.h"
#include "trainer/run/held_codes.h"
#include "trainer/run/storage.h"
#include "trainer/run/weight_shards.h"

namespace sterna::run {
namespace {

bool frozen(const std::string& name, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return freezes(pattern, name);
  });
}

/// What a slot trains follows from its quantizer and from what is frozen.
void give_quantizer(Slot& slot, std::unique_ptr<quant::Quantizer> quantizer) {
  slot.quantizer = std::move(quantizer);
  slot.soft = nullptr;
  slot.trains_quantizer = slot.free && slot.quantizer && !slot.quantizer->parameters().empty();
  slot.stale = true;
}

}  // namespace

Student::Student(model::Decoder decoder,
                 std::map<std::string, Tensor> masters,
                 const QuantizerOf& quantizer_of,
                 const Freezing& freezing,
                 const Places& places)
    : decoder_(std::move(decoder)), places_(places) {
  const Tensor* head = &decoder_.head_linear().weight;
  for (const model::Parameter& parameter : decoder_.parameters()) {
    Slot slot;
    slot.name = parameter.name;
    slot.layer = parameter.layer;
    slot.matrix = parameter.matrix;
    slot.value = parameter.value;
    slot.grad = parameter.grad;
    slot.master = masters.at(parameter.name).to(at::kFloat).contiguous().to(places.state);
    slot.rows = {0, slot.master.size(0), slot.master.size(0)};
    masters.erase(parameter.name);
    const at::ScalarType dtype = slot.matrix ? decoder_.compute_dtype() : at::kFloat;
    *slot.value = at::empty(parameter.shape, at::TensorOptions(places.compute).dtype(dtype));
    if (slot.master.size(0) < parameter.shape[0])
      free_storage(*slot.value);  // until the ranks share it out
    // A tied matrix answers to both of its names.
    const bool is_head = slot.value == head;
    const bool free = !frozen(slot.name, freezing.patterns) &&
                      !(is_head && frozen("lm_head.weight", freezing.patterns));
    slot.trains_master =
        free && !freezing.only_quantizers && (parameter.adapter || !freezing.only_adapters);
    slot.free = free && !freezing.only_adapters;
    if (slot.matrix)
      give_quantizer(slot, quantizer_of(parameter));
    if (is_head)
      head_ = slots_.size();
    if (parameter.behind)
      slot.layer = decoder_.config().layers;
    slots_.push_back(std::move(slot));
  }
}

Slot* Student::find(const std::string& name) {
  const auto at = std::find_if(
      slots_.begin(), slots_.end(), [&](const Slot& slot) { return slot.name == name; });
  return at == slots_.end() ? nullptr : &*at;
}

std::vector<Slot*> Student::all() {
  std::vector<Slot*> result;
  for (Slot& slot : slots_)
    result.push_back(&slot);
  return result;
}

std::vector<Slot*> Student::of_layer(int64_t layer) {
  std::vector<Slot*> result;
  for (Slot& slot : slots_)
    if (slot.layer == layer)
      result.push_back(&slot);
  return result;
}

void Student::replace_quantizers(const QuantizerOf& quantizer_of,
                                 const std::function<bool(const model::Parameter&)>& changes,
                                 bool init) {
  for (const model::Parameter& parameter : decoder_.parameters()) {
    if (!parameter.matrix || !changes(parameter))
      continue;
    Slot& slot = *find(parameter.name);
    give_quantizer(slot, quantizer_of(parameter));
    if (slot.quantizer && slot.absent())
      slot.quantizer->allocate(host_master(slot));
    else if (init && slot.quantizer)
      slot.quantizer->init(host_master(slot));
  }
}

void Student::init_quantizers() {
  for (Slot& slot : slots_) {
    if (slot.quantizer && !slot.absent()) {
      slot.quantizer->init(host_master(slot));
      slot.stale = true;
    }
  }
}

void Student::hold_codes() {
  for (Slot& slot : slots_) {
    slot.trains_master = false;
    slot.stale = true;
    slot.holds_codes = slot.quantizer != nullptr;
    if (slot.quantizer && !slot.absent())
      run::hold_codes(slot);
  }
}

void Student::share(std::shared_ptr<WeightShards> shards) {
  shards_ = std::move(shards);
  decoder_.set_gate(shards_);
}

/// Rows that were written count for the other ranks from here on. What is trained always does: an
/// owner alone knows whether its soft value is over, and all must gather the same parts.
void Student::publish(const std::vector<Slot*>& written) {
  if (!shards_)
    return;
  for (const Slot* slot : written)
    shards_->changed(part_of(*this, *slot));
  for (const Slot& slot : slots_)
    if (slot.trained())
      shards_->changed(part_of(*this, slot));
}

/// Weights that all ranks hold come at once; others as they are computed with, from the first part
/// on.
void Student::show() {
  if (shards_ && shards_->frees())
    shards_->turn(/*back=*/false);
  else if (shards_)
    shards_->hold_all();
}

void Student::materialize() {
  if (shards_)
    shards_->let_go();
  publish(run::materialize(all()));
  show();
}

void Student::materialize_for_step(const quant::Progress& at) {
  if (shards_)
    shards_->let_go();
  publish(run::materialize_for_step(all(), at));
}

void Student::materialize_full_precision() {
  const at::NoGradGuard no_grad;
  if (shards_)
    shards_->let_go();
  for (Slot& slot : slots_) {
    write_master(slot);
    slot.stale = slot.quantizer != nullptr;
    slot.soft = nullptr;
  }
  publish(all());
  show();
}

double Student::bits_per_weight() const {
  const Tensor sums = at::zeros({2}, at::kDouble);  // bits, weights
  auto* sum = sums.mutable_data_ptr<double>();
  for (const Slot& slot : slots_) {
    if (!slot.quantizer || slot.absent())
      continue;
    const auto count = static_cast<double>(slot.master.numel());
    sum[0] += count * quant::bits_per_weight(slot.quantizer->encode(host_master(slot)));
    sum[1] += count;
  }
  if (shards_)
    shards_->world().all_reduce({sums})->wait();
  return sum[1] > 0 ? sum[0] / sum[1] : 0;
}

bool Student::trains_at_or_below(int64_t layer) const {
  return std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    return slot.trained() && slot.layer <= layer;
  });
}

std::map<std::string, Tensor> trained_tensors(Student& student) {
  std::map<std::string, Tensor> result;
  for (const Slot& slot : student.slots()) {
    if (slot.absent())
      continue;
    if (slot.trains_master)
      result.emplace(slot.name, slot.master);
    if (!slot.trains_quantizer)
      continue;
    for (const auto& [i, each] : moved(slot))
      result.emplace(model::quantizer_tensor(slot.name, each.name), each.tensor);
  }
  return result;
}

bool freezes(const std::string& pattern, const std::string& name) {
  return recipes::glob_matches(pattern, name) ||
         recipes::glob_matches(pattern, model::module_of(name));
}

}  // namespace sterna::run
