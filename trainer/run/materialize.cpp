// Compute weights of masters and quantizers.
#include "trainer/run/held_codes.h"
#include "trainer/run/slot.h"

namespace sterna::run {
namespace {

/// Where the own rows of the compute weight are written.
Tensor& target(Slot& slot) {
  return slot.own_value.defined() ? slot.own_value : *slot.value;
}

void materialize_one(Slot& slot) {
  const at::NoGradGuard no_grad;
  if (slot.quantizer && !slot.held && !slot.absent()) {
    const quant::Encoded encoded = slot.quantizer->encode(host_master(slot));
    fill(target(slot), [&](Tensor& values) { quant::decode_into(encoded, values); });
  } else {
    write_master(slot);
  }
  slot.stale = false;
  slot.soft = nullptr;
}

}  // namespace

Tensor host_master(const Slot& slot) {
  return slot.trained() ? slot.below.of(slot.master) : slot.master.cpu();
}

void write_master(Slot& slot) {
  if (slot.master.is_cpu())
    fill(target(slot), [&](Tensor& values) { values.copy_(slot.master); });
  else
    target(slot).copy_(slot.master);
}

std::vector<Slot*> materialize(const std::vector<Slot*>& slots) {
  std::vector<Slot*> written;
  for (Slot* slot : slots) {
    if (!slot->stale && slot->soft == nullptr)
      continue;
    materialize_one(*slot);
    written.push_back(slot);
  }
  return written;
}

std::vector<Slot*> materialize_for_step(const std::vector<Slot*>& slots,
                                        const quant::Progress& at) {
  const at::NoGradGuard no_grad;
  std::vector<Slot*> written;
  for (Slot* slot : slots) {
    // A frozen weight has nothing to become used to.
    quant::SoftQuantizer* soft = slot->trains_master ? quant::soft(slot->quantizer.get()) : nullptr;
    const bool here = soft != nullptr && !slot->absent();
    const Tensor value = here ? soft->soft_value(host_master(*slot), at) : Tensor();
    if (value.defined()) {
      fill(target(*slot), [&](Tensor& values) { values.copy_(value); });
      slot->stale = false;
      slot->soft = soft;
    } else if (slot->stale || slot->soft != nullptr) {
      materialize_one(*slot);
    } else {
      continue;
    }
    written.push_back(slot);
  }
  return written;
}

void touch(const std::vector<Slot*>& slots) {
  for (Slot* slot : slots) {
    if (!slot->trained())
      continue;
    slot->stale = true;
    if (slot->held && !slot->absent())
      follow_scales(*slot);
  }
}

}  // namespace sterna::run
