#pragma once

#include "trainer/io/tensor_file.h"

namespace sterna::io {

/// Opens `file.safetensors`, a `*.safetensors.index.json`, or a folder that holds either
/// (`model.safetensors` or `model.safetensors.index.json`). Every check of the format is made on
/// opening: header size, JSON, duplicate names, tiling without hole or overlap, sizes, dtypes.
/// @throws FileError
std::unique_ptr<TensorFile> open_safetensors(const std::filesystem::path& path);

/// A tensor to be written; `bytes` must stay alive until write_safetensors returns.
struct TensorToWrite {
  std::string name;
  Dtype dtype = Dtype::kF32;
  std::vector<int64_t> shape;
  std::span<const std::byte> bytes;
};

/// Writes beside the file, fsyncs and renames: the name never holds half a file. Tensors are laid
/// out as the reference writer does (largest alignment first, then by name).
/// @throws FileError  also where a tensor's bytes are not those of its shape, or a name comes twice
void write_safetensors(const std::filesystem::path& path,
                       std::vector<TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace sterna::io
