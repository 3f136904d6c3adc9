#pragma once

#include <filesystem>
#include <list>
#include <map>

#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"
#include "trainer/model/checkpoint_tensors.h"

namespace sterna::tests {

/// Makes a checkpoint what so many ranks would have written: rows of each tensor, in equal chunks,
/// into a file for each rank and kind.
inline void reshard(const std::filesystem::path& checkpoint, int64_t ranks) {
  model::Manifest manifest = model::read_manifest(checkpoint);
  std::map<std::string, std::vector<io::TensorToWrite>> files;
  std::list<at::Tensor> alive;
  {
    const model::CheckpointTensors tensors(checkpoint, manifest);
    for (model::CheckpointTensor& listed : manifest.tensors) {
      const int64_t rows = model::rows_of(listed);
      const int64_t chunk = (rows + ranks - 1) / ranks;
      std::vector<model::CheckpointTensor::Slice> slices;
      for (int64_t rank = 0; rank * chunk < rows; ++rank) {
        const int64_t end = std::min(rows, (rank + 1) * chunk);
        const at::Tensor& part = alive.emplace_back(tensors.read(listed, rank * chunk, end));
        slices.push_back({model::shard_file(listed.kind, rank, ranks), rank * chunk, end});
        files[slices.back().file].push_back(
            {listed.name,
             io::Dtype::kF32,
             part.sizes().vec(),
             {static_cast<const std::byte*>(part.const_data_ptr()), part.nbytes()}});
      }
      listed.slices = std::move(slices);
    }
  }
  for (const auto& [file, hash] : manifest.files)
    std::filesystem::remove(checkpoint / file);
  manifest.files.clear();
  for (auto& [file, tensors] : files) {
    io::write_safetensors(checkpoint / file, std::move(tensors));
    manifest.files[file] = io::sha256_of_file(checkpoint / file);
  }
  model::write_manifest(checkpoint, manifest);
}

}  // namespace sterna::tests
