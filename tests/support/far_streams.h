#pragma once

#include <c10/core/impl/DeviceGuardImplInterface.h>

#include "tests/support/far_memory.h"

namespace sterna::tests {

/// True where the calling thread's work goes to the second stream.
bool is_beside();

/// Copies when somebody waits for the second stream.
void copy_later(const Tensor& from, const Tensor& to);

/// Streams and events, as LibTorch asks for them; lives to the program's end.
const c10::impl::DeviceGuardImplInterface* far_guard();

}  // namespace sterna::tests
