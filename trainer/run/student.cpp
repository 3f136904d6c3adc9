#include "trainer/run/student.h"

#include "recipes/glob.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/held_codes.h"

namespace sterna::run {
namespace {

bool frozen(const std::string& name, const std::vector<std::string>& patterns) {
  return std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
    return freezes(pattern, name);
  });
}

bool trained(const Slot& slot) {
  return slot.trains_master || slot.trains_quantizer;
}

/// What a slot trains follows from its quantizer and from what is frozen.
void give_quantizer(Slot& slot, std::unique_ptr<quant::Quantizer> quantizer) {
  slot.quantizer = std::move(quantizer);
  slot.soft = nullptr;
  slot.trains_quantizer = slot.free && slot.quantizer && !slot.quantizer->parameters().empty();
  slot.stale = true;
}

void materialize_one(Slot& slot) {
  const at::NoGradGuard no_grad;
  if (slot.quantizer && !slot.held) {
    const quant::Encoded encoded = slot.quantizer->encode(slot.master);
    quant::decode_into(encoded, *slot.value);
  } else {
    slot.value->copy_(slot.master);
  }
  slot.stale = false;
  slot.soft = nullptr;
}

}  // namespace

Student::Student(model::Decoder decoder,
                 std::map<std::string, Tensor> masters,
                 const QuantizerOf& quantizer_of,
                 const Freezing& freezing)
    : decoder_(std::move(decoder)) {
  const Tensor* head = &decoder_.head_linear().weight;
  for (const model::Parameter& parameter : decoder_.parameters()) {
    Slot slot;
    slot.name = parameter.name;
    slot.layer = parameter.layer;
    slot.matrix = parameter.matrix;
    slot.value = parameter.value;
    slot.grad = parameter.grad;
    slot.master = masters.at(parameter.name).to(at::kFloat).contiguous();
    slot.rows = {0, slot.master.size(0), slot.master.size(0)};
    masters.erase(parameter.name);
    slot.rows = {0, slot.master.size(0), slot.master.size(0)};
    const at::ScalarType dtype = slot.matrix ? decoder_.compute_dtype() : at::kFloat;
    *slot.value = at::empty(slot.master.sizes(), dtype);
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
    if (init && slot.quantizer)
      slot.quantizer->init(slot.master);
  }
}

void Student::init_quantizers() {
  for (Slot& slot : slots_) {
    if (slot.quantizer) {
      slot.quantizer->init(slot.master);
      slot.stale = true;
    }
  }
}

void Student::hold_codes() {
  for (Slot& slot : slots_) {
    slot.trains_master = false;
    slot.stale = true;
    if (slot.quantizer)
      run::hold_codes(slot);
  }
}

void Student::materialize() {
  run::materialize(all());
}

void Student::materialize_full_precision() {
  const at::NoGradGuard no_grad;
  for (Slot& slot : slots_) {
    slot.value->copy_(slot.master);
    slot.stale = slot.quantizer != nullptr;
    slot.soft = nullptr;
  }
}

double Student::bits_per_weight() const {
  double bits = 0;
  double weights = 0;
  for (const Slot& slot : slots_) {
    if (!slot.quantizer)
      continue;
    const auto count = static_cast<double>(slot.master.numel());
    bits += count * quant::bits_per_weight(slot.quantizer->encode(slot.master));
    weights += count;
  }
  return weights > 0 ? bits / weights : 0;
}

bool Student::trains_at_or_below(int64_t layer) const {
  return std::any_of(slots_.begin(), slots_.end(), [&](const Slot& slot) {
    return trained(slot) && slot.layer <= layer;
  });
}

void materialize(const std::vector<Slot*>& slots) {
  for (Slot* slot : slots)
    if (slot->stale || slot->soft != nullptr)
      materialize_one(*slot);
}

void materialize_for_step(const std::vector<Slot*>& slots, const quant::Progress& at) {
  const at::NoGradGuard no_grad;
  for (Slot* slot : slots) {
    // A frozen weight has nothing to become used to.
    quant::SoftQuantizer* soft = slot->trains_master ? quant::soft(slot->quantizer.get()) : nullptr;
    const Tensor value = soft != nullptr ? soft->soft_value(slot->master, at) : Tensor();
    if (value.defined()) {
      slot->value->copy_(value);
      slot->stale = false;
      slot->soft = soft;
    } else if (slot->stale || slot->soft != nullptr) {
      materialize_one(*slot);
    }
  }
}

void touch(const std::vector<Slot*>& slots) {
  for (Slot* slot : slots) {
    if (!trained(*slot))
      continue;
    slot->stale = true;
    if (slot->held)
      follow_scales(*slot);
  }
}

void zero_grad(const std::vector<Slot*>& slots) {
  for (Slot* slot : slots) {
    if (!trained(*slot))
      continue;
    if (slot->grad->defined())
      slot->grad->zero_();
    else
      *slot->grad = at::zeros_like(slot->master);
  }
}

void drop_grad(const std::vector<Slot*>& slots) {
  for (Slot* slot : slots)
    *slot->grad = Tensor();
}

void advance(const std::vector<Slot*>& slots, const quant::Progress& at) {
  for (Slot* slot : slots)
    if (slot->soft != nullptr)
      slot->soft->advance(slot->master, at);
}

std::vector<Trained> gradients(const std::vector<Slot*>& slots, const quant::Progress& at) {
  std::vector<Trained> result;
  const at::NoGradGuard no_grad;
  for (Slot* slot : slots) {
    if (!trained(*slot))
      continue;
    quant::Gradients back;
    if (slot->held) {
      back.params.push_back(scale_gradient(*slot));
    } else if (slot->quantizer) {
      back = slot->soft != nullptr ? slot->soft->soft_backward(slot->master, *slot->grad, at)
                                   : slot->quantizer->backward(slot->master, *slot->grad);
      if (!back.w.is_same(*slot->grad))
        slot->grad->copy_(back.w);  // one matrix lives twice, not all of them
    }
    if (slot->trains_master)
      result.push_back(
          {slot->name, slot->master, *slot->grad, {}, {}, /*quantizer=*/false, slot->matrix});
    if (!slot->trains_quantizer)
      continue;
    TORCH_CHECK(slot->held || slot->quantizer->parameters().size() == back.params.size(),
                slot->name,
                ": quantizer gave ",
                back.params.size(),
                " gradients for ",
                slot->quantizer->parameters().size(),
                " parameters");
    for (const auto& [i, learned] : moved(*slot))
      result.push_back({model::quantizer_tensor(slot->name, learned.name),
                        learned.tensor,
                        back.params[i].contiguous(),
                        {},
                        {},
                        /*quantizer=*/true,
                        false});
  }
  return result;
}

std::map<std::string, Tensor> trained_tensors(Student& student) {
  std::map<std::string, Tensor> result;
  for (const Slot& slot : student.slots()) {
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
