// Gradients of compute weights, and their way back through quantizers.
#include "trainer/model/quantizers.h"
#include "trainer/run/held_codes.h"
#include "trainer/run/slot.h"

namespace sterna::run {

void zero_grad(const std::vector<Slot*>& slots) {
  for (Slot* slot : slots) {
    if (!slot->trained())
      continue;
    if (slot->grad->defined())
      slot->grad->zero_();
    else
      *slot->grad = at::zeros(slot->master.sizes(), slot->value->options().dtype(at::kFloat));
  }
}

void drop_grad(const std::vector<Slot*>& slots) {
  for (Slot* slot : slots)
    *slot->grad = Tensor();
}

void advance(const std::vector<Slot*>& slots, const quant::Progress& at) {
  for (Slot* slot : slots)
    if (slot->soft != nullptr && !slot->absent())
      slot->soft->advance(host_master(*slot), at);
}

namespace {

/// What flows back from the compute weight's own rows to master and quantizer; the first becomes
/// the gradient of the slot.
quant::Gradients pass_back(Slot& slot, const quant::Progress& at) {
  quant::Gradients back;
  const Tensor& grad = gradient_of(slot);
  if (slot.held) {
    back.params.push_back(scale_gradient(slot));
  } else if (slot.quantizer) {
    const Tensor w = host_master(slot);
    const Tensor gwq = grad.cpu();
    back = slot.soft != nullptr ? slot.soft->soft_backward(w, gwq, at)
                                : slot.quantizer->backward(w, gwq);
    if (!back.w.is_same(gwq))
      Tensor(grad).copy_(back.w);  // one matrix lives twice, not all of them
  }
  TORCH_CHECK(!slot.trains_quantizer || slot.held ||
                  slot.quantizer->parameters().size() == back.params.size(),
              slot.name,
              ": quantizer gave ",
              back.params.size(),
              " gradients for ",
              slot.quantizer->parameters().size(),
              " parameters");
  return back;
}

}  // namespace

std::vector<Trained> gradients(const std::vector<Slot*>& slots, const quant::Progress& at) {
  std::vector<Trained> result;
  const at::NoGradGuard no_grad;
  const Tensor nothing = at::empty({0}, at::kFloat);
  for (Slot* slot : slots) {
    if (!slot->trained())
      continue;
    const bool absent = slot->absent();
    const quant::Gradients back = absent ? quant::Gradients{} : pass_back(*slot, at);
    if (slot->trains_master)
      result.push_back({slot->name,
                        slot->master,
                        gradient_of(*slot).to(slot->master.device()),
                        {},
                        {},
                        /*quantizer=*/false,
                        slot->matrix});
    if (!slot->trains_quantizer)
      continue;
    for (const auto& [i, learned] : moved(*slot))
      result.push_back({model::quantizer_tensor(slot->name, learned.name),
                        absent ? nothing : learned.tensor,
                        absent ? nothing : back.params[i].contiguous(),
                        {},
                        {},
                        /*quantizer=*/true,
                        false});
  }
  return result;
}

}  // namespace sterna::run
