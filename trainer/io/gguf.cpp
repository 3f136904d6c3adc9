#include "trainer/io/gguf.h"

#include <array>
#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <type_traits>

#include "trainer/io/ggml_types.h"
#include "trainer/io/mapped_file.h"

namespace sterna::io {

namespace {

enum class ValueType : uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64
};
constexpr std::array<uint64_t, 13> kLeastBytes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

constexpr uint64_t kMaxName = 64;  // ggml keeps names in 64 bytes, the final NUL included
constexpr uint32_t kMaxDims = 4;
constexpr uint64_t kLeastPair = 14;    // key of one byte, type, value of one byte
constexpr uint64_t kLeastTensor = 24;  // empty name, dimensions, type, offset

/// Reads a mapped file forward; every length is checked against what is left before it is used.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_(file) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return file_.bytes().size() - position_; }
  [[noreturn]] void fail(const std::string& check) const { file_.fail(position_, check); }

  template <class T>
  T scalar(const char* what) {
    if (left() < sizeof(T))
      fail(std::string("the file ends inside ") + what);
    T value;
    std::memcpy(&value, file_.bytes().data() + position_, sizeof(T));
    position_ += sizeof(T);
    return value;
  }

  std::string string(const char* what) {
    const auto length = scalar<uint64_t>(what);
    if (length > left())
      fail(std::string(what) + " is " + std::to_string(length) + " bytes long, more than is left");
    std::string text(reinterpret_cast<const char*>(file_.bytes().data() + position_), length);
    position_ += length;
    return text;
  }

  uint64_t count(const char* what, uint64_t least_bytes) {
    const auto n = scalar<uint64_t>(what);
    if (n > left() / least_bytes)
      fail(std::string(what) + " is " + std::to_string(n) + ", more than the file can hold");
    return n;
  }

 private:
  const MappedFile& file_;
  uint64_t position_ = 0;
};

ValueType read_type(Cursor& in, const std::string& key) {
  const auto type = in.scalar<uint32_t>("a value type");
  if (type >= kLeastBytes.size())
    in.fail("key '" + key + "' has the unknown value type " + std::to_string(type));
  return static_cast<ValueType>(type);
}

bool read_bool(Cursor& in, const std::string& key) {
  const auto byte = in.scalar<uint8_t>("a boolean");
  if (byte > 1)
    in.fail("key '" + key + "' holds a boolean that is neither 0 nor 1");
  return byte == 1;
}

int64_t read_integer(Cursor& in, ValueType type, const std::string& key) {
  switch (type) {
    case ValueType::kU8:
      return in.scalar<uint8_t>("an integer");
    case ValueType::kI8:
      return in.scalar<int8_t>("an integer");
    case ValueType::kU16:
      return in.scalar<uint16_t>("an integer");
    case ValueType::kI16:
      return in.scalar<int16_t>("an integer");
    case ValueType::kU32:
      return in.scalar<uint32_t>("an integer");
    case ValueType::kI32:
      return in.scalar<int32_t>("an integer");
    case ValueType::kI64:
      return in.scalar<int64_t>("an integer");
    default:
      break;
  }
  const auto value = in.scalar<uint64_t>("an integer");
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
    in.fail("key '" + key + "' holds an integer beyond 63 bits");
  return static_cast<int64_t>(value);
}

template <class Read>
auto read_many(uint64_t count, const Read& read) {
  std::vector<std::decay_t<decltype(read())>> values;
  for (uint64_t i = 0; i < count; ++i)
    values.push_back(read());
  return GgufValue(std::move(values));
}

GgufValue read_array(Cursor& in, const std::string& key) {
  const ValueType type = read_type(in, key);
  if (type == ValueType::kArray)
    in.fail("key '" + key + "' holds an array of arrays");
  const uint64_t count = in.count("an array's length", kLeastBytes[static_cast<size_t>(type)]);
  switch (type) {
    case ValueType::kBool:
      return read_many(count, [&] { return read_bool(in, key); });
    case ValueType::kString:
      return read_many(count, [&] { return in.string("a string"); });
    case ValueType::kF32:
      return read_many(count, [&] { return static_cast<double>(in.scalar<float>("a float")); });
    case ValueType::kF64:
      return read_many(count, [&] { return in.scalar<double>("a float"); });
    default:
      return read_many(count, [&] { return read_integer(in, type, key); });
  }
}

GgufValue read_value(Cursor& in, ValueType type, const std::string& key) {
  switch (type) {
    case ValueType::kBool:
      return read_bool(in, key);
    case ValueType::kString:
      return in.string("a string");
    case ValueType::kArray:
      return read_array(in, key);
    case ValueType::kF32:
      return static_cast<double>(in.scalar<float>("a float"));
    case ValueType::kF64:
      return in.scalar<double>("a float");
    default:
      return read_integer(in, type, key);
  }
}

class GgufFile final : public Gguf {
 public:
  explicit GgufFile(const std::filesystem::path& path) : file_(path) {
    Cursor in(file_);
    const auto [num_tensors, num_pairs] = read_counts(in);
    for (uint64_t i = 0; i < num_pairs; ++i)
      read_pair(in);
    refuse_splits(in);
    std::vector<uint64_t> offsets;
    for (uint64_t i = 0; i < num_tensors; ++i)
      offsets.push_back(read_tensor(in));
    place_tensors(in, offsets);
  }

  const std::vector<TensorView>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return no_metadata_; }
  const std::map<std::string, GgufValue>& values() const override { return values_; }
  const std::filesystem::path& path() const override { return file_.path(); }

 private:
  static std::pair<uint64_t, uint64_t> read_counts(Cursor& in) {
    if (in.scalar<uint32_t>("the magic word") != 0x46554747)
      in.fail("does not begin with 'GGUF'");
    const auto version = in.scalar<uint32_t>("the version");
    if (version != 2 && version != 3)
      in.fail("GGUF version " + std::to_string(version) + " where 3 (or 2) is expected");
    const uint64_t num_tensors = in.count("the number of tensors", kLeastTensor);
    return {num_tensors, in.count("the number of metadata pairs", kLeastPair)};
  }

  void read_pair(Cursor& in) {
    const std::string key = in.string("a metadata key");
    if (key.empty())
      in.fail("a metadata key is empty");
    const ValueType type = read_type(in, key);
    GgufValue value = read_value(in, type, key);
    if (key == "general.alignment") {
      const int64_t* size = std::get_if<int64_t>(&value);
      if (type != ValueType::kU32 || *size == 0 || (*size & (*size - 1)) != 0)
        in.fail("general.alignment is no u32 power of two");
      alignment_ = static_cast<uint64_t>(*size);
    }
    if (!values_.emplace(key, std::move(value)).second)
      in.fail("the metadata key '" + key + "' comes twice");
  }

  void refuse_splits(const Cursor& in) const {
    const auto it = values_.find("split.count");
    const int64_t* count = it == values_.end() ? nullptr : std::get_if<int64_t>(&it->second);
    if (it != values_.end() && (count == nullptr || *count > 1))
      throw FileError(
          file_.path().string() + ": is one part of a split model (metadata before byte " +
          std::to_string(in.position()) + "); join the parts with llama-gguf-split --merge");
  }

  Dtype read_dtype(Cursor& in, const std::string& tensor) const {
    const auto type = in.scalar<uint32_t>("a tensor's type");
    if (const std::optional<Dtype> dtype = ggml_dtype(type))
      return *dtype;
    const std::string name = unread_ggml_type(type);
    if (name.empty())
      in.fail("tensor '" + tensor + "' has the unknown type " + std::to_string(type));
    throw FileError(file_.path().string() + ": tensor '" + tensor + "' is stored as " + name +
                    " (at byte " + std::to_string(in.position() - sizeof(type)) +
                    "), which is not read; use a file in " + read_ggml_types());
  }

  uint64_t read_tensor(Cursor& in) {
    TensorView view;
    view.name = in.string("a tensor name");
    if (view.name.size() >= kMaxName)
      in.fail("a tensor name of " + std::to_string(view.name.size()) + " bytes; 63 are allowed");
    if (!names_.insert(view.name).second)
      in.fail("the tensor name '" + view.name + "' comes twice");
    const auto dims = in.scalar<uint32_t>("a tensor's number of dimensions");
    if (dims > kMaxDims)
      in.fail("tensor '" + view.name + "' has " + std::to_string(dims) + " dimensions; 4 at most");
    // ggml lists the fastest dimension first.
    for (uint32_t i = 0; i < dims; ++i)
      view.shape.insert(view.shape.begin(), in.scalar<int64_t>("a tensor's dimensions"));
    view.dtype = read_dtype(in, view.name);
    try {
      const uint64_t row = view.shape.empty() ? 1 : static_cast<uint64_t>(view.shape.back());
      (void)view.elements();
      (void)bytes_of(view.dtype, row);
    } catch (const FileError& error) {
      in.fail("tensor '" + view.name + "': " + error.what());
    }
    tensors_.push_back(std::move(view));
    return in.scalar<uint64_t>("a tensor's offset");
  }

  void place_tensors(const Cursor& in, const std::vector<uint64_t>& offsets) {
    if (tensors_.empty())
      return;
    const uint64_t size = file_.bytes().size();
    const uint64_t start = padded(in.position());
    if (start > size)
      file_.fail(in.position(), "the file ends before its data section");
    if (!lies_as(Dtype::kQ2_0, offsets, size - start) &&
        lies_as(Dtype::kQ2_0Of128, offsets, size - start)) {
      for (TensorView& view : tensors_)
        view.dtype = view.dtype == Dtype::kQ2_0 ? Dtype::kQ2_0Of128 : view.dtype;
    }
    uint64_t expected = 0;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      TensorView& view = tensors_[i];
      const std::string who = "tensor '" + view.name + "'";
      if (offsets[i] != expected)
        file_.fail(start,
                   who + " has offset " + std::to_string(offsets[i]) + " where " +
                       std::to_string(expected) + " follows from the tensors before it");
      const uint64_t bytes = size_of(view);
      if (expected > size - start || bytes > size - start - expected)
        file_.fail(size, who + " goes beyond the end of the file");
      view.bytes = file_.bytes().subspan(start + expected, bytes);
      expected = padded(expected + bytes);
    }
  }

  /// Whether offsets and the size of the data section are those of a file whose Q2_0 is `q2_0`.
  bool lies_as(Dtype q2_0, const std::vector<uint64_t>& offsets, uint64_t size) const {
    uint64_t expected = 0;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const TensorView& view = tensors_[i];
      const Dtype dtype = view.dtype == Dtype::kQ2_0 ? q2_0 : view.dtype;
      if (offsets[i] != expected || view.elements() % block_elements(dtype) != 0 ||
          view.elements() / block_elements(dtype) > size)
        return false;
      const uint64_t bytes = bytes_of(dtype, view.elements());
      if (expected > size || bytes > size - expected)
        return false;
      expected = padded(expected + bytes);
    }
    return true;
  }

  uint64_t size_of(const TensorView& view) const {
    try {
      return bytes_of(view.dtype, view.elements());
    } catch (const FileError& error) {
      file_.fail(0, "tensor '" + view.name + "': " + error.what());
    }
  }

  // Neither sum overflows: both operands are below the file's size plus 2^32.
  uint64_t padded(uint64_t position) const {
    return (position + alignment_ - 1) / alignment_ * alignment_;
  }

  MappedFile file_;
  uint64_t alignment_ = 32;
  std::vector<TensorView> tensors_;
  std::set<std::string> names_;
  std::map<std::string, GgufValue> values_;
  std::map<std::string, std::string> no_metadata_;
};

constexpr std::array<const char*, 8> kKinds = {"a boolean",
                                               "an integer",
                                               "a number",
                                               "a string",
                                               "an array of booleans",
                                               "an array of integers",
                                               "an array of numbers",
                                               "an array of strings"};

template <class T>
const T& get(const Gguf& file, const std::string& key, size_t kind) {
  const auto it = file.values().find(key);
  if (it == file.values().end())
    throw FileError(file.path().string() + ": lacks the metadata key '" + key + "' (" +
                    kKinds[kind] + "); convert the checkpoint again");
  if (const T* value = std::get_if<T>(&it->second))
    return *value;
  throw FileError(file.path().string() + ": metadata key '" + key + "' is " +
                  kKinds[it->second.index()] + " where " + kKinds[kind] + " is expected");
}

}  // namespace

int64_t Gguf::integer(const std::string& key) const {
  return get<int64_t>(*this, key, 1);
}

double Gguf::number(const std::string& key) const {
  const auto it = values().find(key);
  if (it != values().end() && std::holds_alternative<int64_t>(it->second))
    return static_cast<double>(std::get<int64_t>(it->second));
  return get<double>(*this, key, 2);
}

bool Gguf::boolean(const std::string& key) const {
  return get<bool>(*this, key, 0);
}

const std::string& Gguf::text(const std::string& key) const {
  return get<std::string>(*this, key, 3);
}

const std::vector<std::string>& Gguf::texts(const std::string& key) const {
  return get<std::vector<std::string>>(*this, key, 7);
}

const std::vector<int64_t>& Gguf::integers(const std::string& key) const {
  return get<std::vector<int64_t>>(*this, key, 5);
}

std::unique_ptr<Gguf> open_gguf(const std::filesystem::path& path) {
  return std::make_unique<GgufFile>(path);
}

bool is_gguf(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::array<char, 4> magic{};
  in.read(magic.data(), magic.size());
  return in && std::string_view(magic.data(), magic.size()) == "GGUF";
}

}  // namespace sterna::io
