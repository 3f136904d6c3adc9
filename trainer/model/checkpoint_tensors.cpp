#include "trainer/model/checkpoint_tensors.h"

#include <algorithm>
#include <cstring>

#include "trainer/io/mapped_file.h"
#include "trainer/io/safetensors.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

// Piece by piece, so that never all of a tensor is in memory twice.
void move_bytes(std::span<const std::byte> from, char* to) {
  constexpr size_t kAtOnce = size_t{1} << 20;
  for (size_t at = 0; at < from.size(); at += kAtOnce) {
    const auto piece = from.subspan(at, std::min(kAtOnce, from.size() - at));
    std::memcpy(to + at, piece.data(), piece.size());
    io::release_pages(piece);
  }
}

uint64_t bytes_of_listed(const CheckpointTensor& listed, const fs::path& checkpoint) {
  try {
    return io::bytes_of(io::Dtype::kF32, io::elements_of(listed.shape));
  } catch (const io::FileError& error) {
    throw io::FileError((checkpoint / "manifest.json").string() + ": " + listed.name + ": " +
                        error.what());
  }
}

}  // namespace

CheckpointTensors::CheckpointTensors(const fs::path& checkpoint, const Manifest& manifest)
    : checkpoint_(checkpoint) {
  for (const CheckpointTensor& tensor : manifest.tensors)
    listed_.emplace(std::pair(tensor.kind, tensor.name), tensor);
}

const CheckpointTensor* CheckpointTensors::find(const std::string& kind,
                                                const std::string& name) const {
  const auto found = listed_.find({kind, name});
  return found == listed_.end() ? nullptr : &found->second;
}

std::vector<std::string> CheckpointTensors::names(const std::string& kind) const {
  std::vector<std::string> names;
  for (auto at = listed_.lower_bound({kind, ""}); at != listed_.end() && at->first.first == kind;
       ++at)
    names.push_back(at->first.second);
  return names;
}

Tensor CheckpointTensors::read(const CheckpointTensor& listed) const {
  const CheckpointTensor* average = averages_ ? find("ema", listed.name) : nullptr;
  return assemble(average == nullptr ? listed : *average);
}

Tensor CheckpointTensors::assemble(const CheckpointTensor& listed) const {
  const uint64_t bytes = bytes_of_listed(listed, checkpoint_);
  const int64_t rows = listed.shape.empty() ? 1 : listed.shape[0];
  const uint64_t row_bytes = bytes / static_cast<uint64_t>(std::max<int64_t>(rows, 1));
  int64_t next = 0;
  for (const auto& slice : listed.slices) {
    const io::TensorView& view = part(listed, slice);
    const bool follows = slice.begin == next && slice.end >= next && slice.end <= rows;
    const auto wanted = follows ? static_cast<uint64_t>(slice.end - slice.begin) : 0;
    if (!follows || view.dtype != io::Dtype::kF32 || view.bytes.size() != wanted * row_bytes)
      throw io::FileError((checkpoint_ / slice.file).string() + ": " + listed.name +
                          " does not have the rows that the manifest gives it");
    next = slice.end;
  }
  if (next != rows)
    throw io::FileError((checkpoint_ / "manifest.json").string() + ": rows of " + listed.name +
                        " are missing behind row " + std::to_string(next));
  Tensor whole = at::empty(listed.shape, at::kFloat);
  auto* to = static_cast<char*>(whole.data_ptr());
  for (const auto& slice : listed.slices)
    move_bytes(part(listed, slice).bytes, to + static_cast<uint64_t>(slice.begin) * row_bytes);
  return whole;
}

const io::TensorView& CheckpointTensors::part(const CheckpointTensor& listed,
                                              const CheckpointTensor::Slice& slice) const {
  auto& file = files_[slice.file];
  if (!file)
    file = io::open_safetensors(checkpoint_ / slice.file);
  return file->at(listed.name);
}

std::map<std::string, Tensor> read_kind(const fs::path& checkpoint,
                                        const Manifest& manifest,
                                        const std::string& kind) {
  const CheckpointTensors tensors(checkpoint, manifest);
  std::map<std::string, Tensor> result;
  for (const std::string& name : tensors.names(kind))
    result.emplace(name, tensors.read(*tensors.find(kind, name)));
  return result;
}

}  // namespace sterna::model
