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

bool holds_slice(const io::TensorView& view,
                 const CheckpointTensor::Slice& slice,
                 uint64_t row_bytes) {
  return view.dtype == io::Dtype::kF32 &&
         view.bytes.size() == static_cast<uint64_t>(slice.end - slice.begin) * row_bytes;
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

int64_t rows_of(const CheckpointTensor& tensor) {
  return tensor.shape.empty() ? 1 : tensor.shape[0];
}

Tensor CheckpointTensors::read(const CheckpointTensor& listed) const {
  return read(listed, 0, rows_of(listed));
}

Tensor CheckpointTensors::read(const CheckpointTensor& listed, int64_t begin, int64_t end) const {
  const CheckpointTensor* average = averages_ ? find("ema", listed.name) : nullptr;
  return assemble(average == nullptr ? listed : *average, begin, end);
}

Tensor CheckpointTensors::assemble(const CheckpointTensor& listed,
                                   int64_t begin,
                                   int64_t end) const {
  const uint64_t bytes = bytes_of_listed(listed, checkpoint_);
  const int64_t rows = rows_of(listed);
  TORCH_CHECK(
      0 <= begin && begin <= end && end <= rows, listed.name, ": rows ", begin, " to ", end);
  const uint64_t row_bytes = bytes / static_cast<uint64_t>(std::max<int64_t>(rows, 1));
  const auto wanted = [&](const CheckpointTensor::Slice& slice) {
    return std::pair(std::max(begin, slice.begin), std::min(end, slice.end));
  };
  const auto outside = [&](const CheckpointTensor::Slice& slice) {
    const auto [first, last] = wanted(slice);
    return first >= last && rows > 0;
  };
  int64_t next = 0;
  for (const auto& slice : listed.slices) {
    const bool follows = slice.begin == next && slice.end >= next && slice.end <= rows;
    if (!follows || (!outside(slice) && !holds_slice(part(listed, slice), slice, row_bytes)))
      throw io::FileError((checkpoint_ / slice.file).string() + ": " + listed.name +
                          " does not have the rows that the manifest gives it");
    next = slice.end;
  }
  if (next != rows)
    throw io::FileError((checkpoint_ / "manifest.json").string() + ": rows of " + listed.name +
                        " are missing behind row " + std::to_string(next));
  std::vector<int64_t> shape = listed.shape;
  if (!shape.empty())
    shape[0] = end - begin;
  Tensor result = at::empty(shape, at::kFloat);
  auto* to = static_cast<char*>(result.data_ptr());
  for (const auto& slice : listed.slices) {
    if (outside(slice))
      continue;
    const auto [first, last] = wanted(slice);
    const auto at = [&](int64_t row, int64_t from) {
      return static_cast<uint64_t>(row - from) * row_bytes;
    };
    move_bytes(part(listed, slice).bytes.subspan(at(first, slice.begin), at(last, first)),
               to + at(first, begin));
  }
  return result;
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
