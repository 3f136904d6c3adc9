#include <algorithm>
#include <cstring>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "trainer/io/json.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/safetensors.h"

namespace sterna::io {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference's limit
constexpr uint64_t kPrefix = 8;

std::optional<Dtype> dtype_of(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(Dtype::kU64); ++i) {
    if (dtype_name(static_cast<Dtype>(i)) == name)
      return static_cast<Dtype>(i);
  }
  return std::nullopt;
}

std::string quoted(const std::string& name) {
  return "tensor '" + name + "'";
}

/// One file; the set of checks is that of the reference reader.
class SafetensorsFile final : public TensorFile {
 public:
  explicit SafetensorsFile(const fs::path& path) : file_(path) {
    const json header = read_header();
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__")
        read_metadata(entry);
      else
        read_entry(name, entry);
    }
    check_tiling();
  }

  const std::vector<TensorView>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const fs::path& path() const override { return file_.path(); }

 private:
  json read_header() {
    const uint64_t size = file_.bytes().size();
    if (size < kPrefix)
      file_.fail(0, "shorter than the 8 bytes that hold a safetensors header's length");
    uint64_t length = 0;
    std::memcpy(&length, file_.bytes().data(), kPrefix);
    if (length > kMaxHeader)
      file_.fail(0, "header length " + std::to_string(length) + " is beyond the limit of 100 MB");
    if (length > size - kPrefix)
      file_.fail(0, "header length " + std::to_string(length) + " goes beyond the file's end");
    data_ = file_.bytes().subspan(kPrefix + length);
    const auto* text = reinterpret_cast<const char*>(file_.bytes().data() + kPrefix);
    if (length == 0 || text[0] != '{')
      file_.fail(kPrefix, "the header does not start with '{'");
    json header = parse_json({text, length}, file_.path(), kPrefix);
    if (!header.is_object())
      file_.fail(kPrefix, "the header is no JSON object");
    return header;
  }

  void read_metadata(const json& entry) {
    if (!entry.is_object())
      file_.fail(kPrefix, "__metadata__ is no JSON object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string())
        file_.fail(kPrefix, "__metadata__ entry '" + key + "' is no string");
      metadata_[key] = value.get<std::string>();
    }
  }

  void read_entry(const std::string& name, const json& entry) {
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
        !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
        !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2) {
      file_.fail(kPrefix, quoted(name) + " lacks a proper dtype, shape or pair of data_offsets");
    }
    TensorView view;
    view.name = name;
    const auto dtype = dtype_of(entry["dtype"].get<std::string>());
    if (!dtype)
      file_.fail(
          kPrefix,
          quoted(name) + " has the unknown dtype '" + entry["dtype"].get<std::string>() + "'");
    view.dtype = *dtype;
    for (const json& size : entry["shape"])
      view.shape.push_back(static_cast<int64_t>(number(name, size)));
    const uint64_t begin = number(name, entry["data_offsets"][0]);
    const uint64_t end = number(name, entry["data_offsets"][1]);
    if (begin > end || end > data_.size())
      file_.fail(data_start() + std::min<uint64_t>(begin, data_.size()),
                 quoted(name) + " has data_offsets [" + std::to_string(begin) + ", " +
                     std::to_string(end) + "] outside the " + std::to_string(data_.size()) +
                     " bytes of data");
    view.bytes = data_.subspan(begin, end - begin);
    check_size(view, begin);
    tensors_.push_back(std::move(view));
  }

  uint64_t number(const std::string& name, const json& value) const {
    if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX)
      file_.fail(kPrefix, quoted(name) + " has a size or offset that is no natural number");
    return value.get<uint64_t>();
  }

  void check_size(const TensorView& view, uint64_t begin) const {
    uint64_t expected = 0;
    try {
      expected = bytes_of(view.dtype, view.elements());
    } catch (const FileError& error) {
      file_.fail(kPrefix, quoted(view.name) + ": " + error.what());
    }
    if (expected != view.bytes.size())
      file_.fail(data_start() + begin,
                 quoted(view.name) + " needs " + std::to_string(expected) + " bytes but has " +
                     std::to_string(view.bytes.size()));
  }

  void check_tiling() {
    std::sort(tensors_.begin(), tensors_.end(), [](const TensorView& a, const TensorView& b) {
      return std::pair(a.bytes.data(), a.bytes.size()) < std::pair(b.bytes.data(), b.bytes.size());
    });
    uint64_t end = 0;
    for (const TensorView& view : tensors_) {
      const auto begin = static_cast<uint64_t>(view.bytes.data() - data_.data());
      if (begin != end)
        file_.fail(data_start() + end,
                   quoted(view.name) + " begins at data byte " + std::to_string(begin) + " but " +
                       std::to_string(end) + " is where the one before it ends: hole or overlap");
      end += view.bytes.size();
    }
    if (end != data_.size())
      file_.fail(data_start() + end,
                 std::to_string(data_.size() - end) + " bytes follow the last tensor");
  }

  uint64_t data_start() const { return file_.bytes().size() - data_.size(); }

  MappedFile file_;
  std::span<const std::byte> data_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// The shards that an index names, as one file.
class ShardedFile final : public TensorFile {
 public:
  explicit ShardedFile(const fs::path& index) : path_(index) {
    const json map = read_map();
    std::map<std::string, std::set<std::string>> by_shard;
    for (const auto& [name, shard] : map.items())
      by_shard[shard_name(shard)].insert(name);
    for (const auto& [shard, names] : by_shard)
      add_shard(shard, names);
  }

  const std::vector<TensorView>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  const fs::path& path() const override { return path_; }

 private:
  json read_map() const {
    const json index = read_json(path_);
    if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object())
      throw FileError(path_.string() + ": holds no object 'weight_map'; fetch the index again");
    return index["weight_map"];
  }

  std::string shard_name(const json& value) const {
    const std::string name = value.is_string() ? value.get<std::string>() : "";
    if (name.empty() || name == "." || name == ".." || fs::path(name).filename() != name)
      throw FileError(path_.string() + ": weight_map names '" + name +
                      "', which is no plain file name; fetch the index again");
    return name;
  }

  void add_shard(const std::string& shard, std::set<std::string> names) {
    auto file = std::make_unique<SafetensorsFile>(path_.parent_path() / shard);
    for (const TensorView& view : file->tensors()) {
      if (names.erase(view.name) == 0)
        throw FileError(file->path().string() + ": holds " + quoted(view.name) + ", which " +
                        path_.filename().string() + " does not place there; fetch both again");
      tensors_.push_back(view);
    }
    if (!names.empty())
      throw FileError(file->path().string() + ": lacks " + quoted(*names.begin()) + ", which " +
                      path_.filename().string() + " places there; fetch both again");
    metadata_.insert(file->metadata().begin(), file->metadata().end());
    shards_.push_back(std::move(file));
  }

  fs::path path_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::vector<TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace

std::unique_ptr<TensorFile> open_safetensors(const fs::path& path) {
  if (fs::is_directory(path)) {
    if (fs::exists(path / "model.safetensors"))
      return std::make_unique<SafetensorsFile>(path / "model.safetensors");
    if (fs::exists(path / "model.safetensors.index.json"))
      return std::make_unique<ShardedFile>(path / "model.safetensors.index.json");
    throw FileError(path.string() +
                    ": holds neither model.safetensors nor model.safetensors.index.json; give the "
                    "folder of a Hugging Face checkpoint");
  }
  if (path.extension() == ".json")
    return std::make_unique<ShardedFile>(path);
  return std::make_unique<SafetensorsFile>(path);
}

}  // namespace sterna::io
