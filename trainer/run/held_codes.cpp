#include "trainer/run/held_codes.h"

namespace sterna::run {
namespace {

constexpr const char* kScale = "scale";

}  // namespace

void hold_codes(Slot& slot) {
  TORCH_CHECK(slot.quantizer->parameters().front().name == kScale,
              slot.name,
              ": a quantizer whose first parameter is no scale");
  slot.held = slot.quantizer->encode(host_master(slot));
  slot.below.fill(slot.master, [&](Tensor& values) { quant::decode_into(*slot.held, values); });
}

quant::Encoded held_now(const Slot& slot) {
  quant::Encoded encoded = *slot.held;
  encoded.scales = slot.quantizer->encode(host_master(slot)).scales;
  return encoded;
}

void follow_scales(Slot& slot) {
  slot.held = held_now(slot);
  slot.below.fill(slot.master, [&](Tensor& values) { quant::decode_into(*slot.held, values); });
}

Tensor scale_gradient(const Slot& slot) {
  const Tensor scale = slot.quantizer->parameters().front().tensor;
  const Tensor each = (gradient_of(slot).cpu() * host_master(slot))
                          .view({scale.size(0), scale.size(1), -1})
                          .sum(-1);
  return each.div_(slot.held->scales);
}

std::vector<std::pair<size_t, quant::NamedTensor>> moved(const Slot& slot) {
  std::vector<std::pair<size_t, quant::NamedTensor>> result;
  const std::vector<quant::NamedTensor> learned = slot.quantizer->parameters();
  for (size_t i = 0; i < learned.size(); ++i)
    if (!(slot.held || slot.holds_codes) || learned[i].name == kScale)
      result.emplace_back(i, learned[i]);
  return result;
}

}  // namespace sterna::run
