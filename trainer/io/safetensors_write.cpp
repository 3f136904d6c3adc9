#include <algorithm>
#include <cstring>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/safetensors_stream.h"

namespace sterna::io {

namespace {

std::string make_header(const std::vector<TensorToWrite>& tensors,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty())
    header["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    const uint64_t end = offset + tensor.bytes.size();
    auto& entry = header[tensor.name];
    entry["dtype"] = dtype_name(tensor.dtype);
    entry["shape"] = tensor.shape;
    entry["data_offsets"] = {offset, end};
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

void check(const std::filesystem::path& path, const std::vector<TensorToWrite>& tensors) {
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorToWrite& tensor = tensors[i];
    const std::string where = path.string() + ": tensor '" + tensor.name + "'";
    if (tensor.dtype > Dtype::kU64 || tensor.name == "__metadata__")
      throw FileError(where + " has a name or dtype that safetensors cannot hold");
    if (bytes_of(tensor.dtype, elements_of(tensor.shape)) != tensor.bytes.size())
      throw FileError(where + " has " + std::to_string(tensor.bytes.size()) +
                      " bytes, which is not what its shape needs");
    if (i > 0 && tensor.name == tensors[i - 1].name)
      throw FileError(where + " is given twice");
  }
}

constexpr size_t kAtOnce = size_t{4} << 20;

/// @param written  is told of the bytes that are in the file
template <class Written>
void write_file(const std::filesystem::path& path,
                std::vector<TensorToWrite> tensors,
                const std::map<std::string, std::string>& metadata,
                const Written& written) {
  std::sort(tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
    return a.name < b.name;
  });
  check(path, tensors);
  std::stable_sort(
      tensors.begin(), tensors.end(), [](const TensorToWrite& a, const TensorToWrite& b) {
        return a.dtype > b.dtype;
      });
  const std::string header = make_header(tensors, metadata);
  const uint64_t length = header.size();
  AtomicFile file(path);
  file.write(std::as_bytes(std::span(&length, 1)));
  file.write(std::as_bytes(std::span(header)));
  for (const TensorToWrite& tensor : tensors)
    for (size_t at = 0; at < tensor.bytes.size(); at += kAtOnce) {
      const auto piece = tensor.bytes.subspan(at, std::min(kAtOnce, tensor.bytes.size() - at));
      file.write(piece);
      written(piece);
    }
  file.commit();
}

}  // namespace

void write_safetensors(const std::filesystem::path& path,
                       std::vector<TensorToWrite> tensors,
                       const std::map<std::string, std::string>& metadata) {
  write_file(path, std::move(tensors), metadata, [](std::span<const std::byte>) {});
}

SafetensorsStream::SafetensorsStream(const std::filesystem::path& path)
    : path_(path),
      beside_(path.string() + ".waiting"),
      file_(std::make_unique<AtomicFile>(beside_)) {}

SafetensorsStream::~SafetensorsStream() {
  std::error_code ignored;
  std::filesystem::remove(beside_, ignored);
}

void SafetensorsStream::add(const TensorToWrite& tensor) {
  file_->write(tensor.bytes);
  tensors_.push_back({tensor, bytes_, tensor.bytes.size()});
  tensors_.back().tensor.bytes = {};
  bytes_ += tensor.bytes.size();
}

void SafetensorsStream::finish(const std::map<std::string, std::string>& metadata) {
  file_->commit();
  std::unique_ptr<MappedFile> mapped;
  if (bytes_ > 0)
    mapped = std::make_unique<MappedFile>(beside_);
  std::vector<TensorToWrite> tensors;
  for (Waiting& each : tensors_) {
    tensors.push_back(std::move(each.tensor));
    if (each.size > 0)
      tensors.back().bytes = mapped->bytes().subspan(each.offset, each.size);
  }
  write_file(path_, std::move(tensors), metadata, release_pages);
  std::filesystem::remove(beside_);
}

}  // namespace sterna::io
