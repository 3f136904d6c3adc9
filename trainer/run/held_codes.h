#pragma once

#include <utility>
#include <vector>

#include "trainer/run/slot.h"

namespace sterna::run {

// Codes and zero points that are constants while their scales are trained (Student::hold_codes).

/// Takes the codes that the slot's quantizer gives its master now; the master becomes their values.
void hold_codes(Slot& slot);

/// The held codes under the scales that the quantizer has now.
quant::Encoded held_now(const Slot& slot);

/// The master follows the scale; what else encode() finds of it does not count.
void follow_scales(Slot& slot);

/// Gradient of the scales, fp32 in their shape: the sum of g (code - zero) over their weights.
Tensor scale_gradient(const Slot& slot);

/// What a slot's quantizer learns and training moves, with its place among parameters(): of held
/// codes the scales alone.
std::vector<std::pair<size_t, quant::NamedTensor>> moved(const Slot& slot);

}  // namespace sterna::run
