#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "trainer/io/tensor_file.h"

namespace sterna::io {

/// What a GGUF file's type id stands for; nothing where it is not read.
std::optional<Dtype> ggml_dtype(uint32_t id);

/// The id of a type that GGUF files have.
uint32_t ggml_type_id(Dtype dtype);

/// Name of a type that exists and is not read; empty for an id that stands for nothing.
std::string unread_ggml_type(uint32_t id);

/// "F32, F16, Q4_0, ... and Q2_0", for error messages.
std::string read_ggml_types();

}  // namespace sterna::io
