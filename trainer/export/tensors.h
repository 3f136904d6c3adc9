#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "trainer/io/safetensors_stream.h"

namespace sterna::exporter {

/// Safetensors spelling of a float type, byte, int32 or int64.
io::Dtype file_dtype(at::ScalarType dtype);

/// `w` rounded once to `dtype`. @throws recipes::UserError  naming the tensor, where a finite value
/// would become infinite
at::Tensor round_to(const at::Tensor& w, at::ScalarType dtype, const std::string& name);

/// The values that a tensor stored in the file type `storage` ("BF16") comes back with.
at::Tensor after_rounding(const at::Tensor& w, const std::string& storage);

/// True where both hold the same bits.
bool same_bits(const at::Tensor& a, const at::Tensor& b);

/// The smallest type that holds `w` exactly; else fp32 for vectors (norms, biases: they are small)
/// and `fallback` for matrices.
at::ScalarType exact_dtype(const at::Tensor& w, at::ScalarType fallback);

/// A tensor on its way into a safetensors file; nothing of its memory is kept.
void put(io::SafetensorsStream& file, const std::string& name, const at::Tensor& tensor);

/// ggml's Q8_0 blocks of a matrix whose values are those of such blocks, bit for bit; nothing where
/// they are not. The embedding of a GGUF file keeps its size that way.
/// @param w  fp32 [N, K]
/// @return   uint8 [N, K / 32 * 34]
std::optional<at::Tensor> exact_q8_0(const at::Tensor& w);

}  // namespace sterna::exporter
