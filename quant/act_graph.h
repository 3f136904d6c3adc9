#pragma once

#include <memory>

#include <torch/custom_class.h>

#include "quant/act_quantizer.h"

namespace sterna::quant {

/// Keeps an activation quantizer alive as long as a graph needs it for backward.
struct HeldAct : torch::CustomClassHolder {
  explicit HeldAct(std::shared_ptr<ActQuantizer> given) : act(std::move(given)) {}
  std::shared_ptr<ActQuantizer> act;
};

inline c10::IValue hold(const std::shared_ptr<ActQuantizer>& act) {
  return c10::IValue::make_capsule(c10::make_intrusive<HeldAct>(act));
}

/// Null where nothing was held.
inline std::shared_ptr<ActQuantizer> held(const c10::IValue& value) {
  return value.isNone() ? nullptr : static_cast<const HeldAct&>(*value.toCapsule()).act;
}

}  // namespace sterna::quant
