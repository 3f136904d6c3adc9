#pragma once

#include <ATen/ATen.h>

#include "trainer/io/tensor_file.h"

namespace sterna::model {

/// A copy of a tensor of a file, in the dtype it has there (I32 for U32).
at::Tensor copy_of(const io::TensorView& view);

}  // namespace sterna::model
