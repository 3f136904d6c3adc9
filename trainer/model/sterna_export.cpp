#include "trainer/model/sterna_export.h"

#include <cstring>
#include <set>

#include <nlohmann/json.hpp>

#include "quant/pack.h"
#include "trainer/io/json.h"
#include "trainer/io/safetensors.h"

namespace sterna::model {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int64_t kFormat = 1;
constexpr int64_t kBlock = 32;  // weights of one Q8_0 block
constexpr int64_t kBlockBytes = 34;

at::ScalarType scalar_type(io::Dtype dtype, const std::string& who) {
  switch (dtype) {
    case io::Dtype::kU8:
      return at::kByte;
    case io::Dtype::kF16:
      return at::kHalf;
    case io::Dtype::kBF16:
      return at::kBFloat16;
    case io::Dtype::kF32:
      return at::kFloat;
    default:
      break;
  }
  throw io::FileError(who + ": dtype " + std::string(io::dtype_name(dtype)) +
                      " does not occur in this layout; export the run again");
}

/// One STORAGE object: every field is asked for once, and nothing else may be in it.
class Fields {
 public:
  Fields(const json& object, std::string who) : object_(object), who_(std::move(who)) {
    if (!object.is_object())
      fail("is no JSON object");
  }

  std::string text(const char* key) { return get(key, &json::is_string).get<std::string>(); }
  int64_t integer(const char* key) { return get(key, &json::is_number_integer).get<int64_t>(); }
  double number(const char* key) { return get(key, &json::is_number).get<double>(); }
  bool flag(const char* key) {  // may be absent: false
    return object_.contains(key) && get(key, &json::is_boolean).get<bool>();
  }

  std::vector<std::string> texts(const char* key) {
    std::vector<std::string> all;
    for (const json& each : get(key, &json::is_array)) {
      if (!each.is_string())
        fail(std::string("field '") + key + "' is no list of texts");
      all.push_back(each.get<std::string>());
    }
    return all;
  }

  /// [N, K]
  std::pair<int64_t, int64_t> shape() {
    const json& value = get("shape", &json::is_array);
    for (const json& size : value) {
      if (value.size() != 2 || !size.is_number_unsigned() || size.get<uint64_t>() > INT32_MAX)
        fail("field 'shape' is no pair of natural numbers below 2^31");
    }
    if (value.empty())
      fail("field 'shape' is empty");
    return {value[0].get<int64_t>(), value[1].get<int64_t>()};
  }

  void finish() const {
    for (const auto& [key, value] : object_.items()) {
      if (seen_.count(key) == 0)
        fail("has the unknown field '" + key + "'");
    }
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw io::FileError(who_ + " " + what + "; export the run again");
  }

 private:
  const json& get(const char* key, bool (json::*is)() const noexcept) {
    seen_.insert(key);
    const auto it = object_.find(key);
    if (it == object_.end() || !((*it).*is)())
      fail("lacks a proper field '" + std::string(key) + "'");
    return *it;
  }

  const json& object_;
  std::string who_;
  std::set<std::string> seen_;
};

class Reader {
 public:
  explicit Reader(const fs::path& folder)
      : path_(folder / "sterna.json"), file_(io::open_safetensors(folder / "sterna.safetensors")) {}

  SternaExport read() {
    const json root = io::read_json(path_);
    if (!root.is_object() || root.value("format", json()) != kFormat ||
        root.value("layout", json()) != "sterna" || !root.contains("tensors") ||
        !root["tensors"].is_object()) {
      throw io::FileError(
          path_.string() +
          ": no layout 'sterna' of format 1; export the run again with this program");
    }
    for (const auto& [name, storage] : root["tensors"].items())
      read_tensor(name, storage);
    if (root.contains("activations"))
      read_activations(root["activations"]);
    for (const io::TensorView& view : file_->tensors()) {
      if (used_.count(view.name) == 0)
        throw io::FileError(file_->path().string() + ": tensor '" + view.name +
                            "' is not listed in sterna.json; export the run again");
    }
    return std::move(result_);
  }

 private:
  void read_tensor(const std::string& name, const json& storage) {
    Fields fields(storage, path_.string() + ": tensor '" + name + "'");
    const std::string kind = fields.text("storage");
    if (kind == "plain")
      read_plain(name);
    else if (kind == "q8_0")
      read_q8_0(name, fields);
    else if (kind == "codes")
      read_codes(name, fields);
    else
      fields.fail("has the unknown storage '" + kind + "'");
    fields.finish();
  }

  void read_activations(const json& entry) {
    Fields fields(entry, path_.string() + ": 'activations'");
    Activations& activations = result_.weights.activations;
    activations.recipe = fields.text("recipe");
    for (const std::string& name : fields.texts("tensors")) {
      activations.state[name] = raw(name);
      if (activations.state[name].scalar_type() != at::kFloat)
        fields.fail("names the tensor '" + name + "', which is not F32");
    }
    fields.finish();
  }

  const io::TensorView& view(const std::string& name) {
    used_.insert(name);
    return file_->at(name);
  }

  at::Tensor raw(const std::string& name) {
    const io::TensorView& from = view(name);
    const std::string who = file_->path().string() + ": tensor '" + name + "'";
    at::Tensor tensor = at::empty(from.shape, scalar_type(from.dtype, who));
    if (!from.bytes.empty())
      std::memcpy(tensor.mutable_data_ptr(), from.bytes.data(), from.bytes.size());
    return tensor;
  }

  at::Tensor raw(const std::string& name, at::ScalarType dtype, at::IntArrayRef shape) {
    at::Tensor tensor = raw(name);
    if (tensor.scalar_type() != dtype || tensor.sizes() != shape)
      throw io::FileError(file_->path().string() + ": tensor '" + name +
                          "' is not of the shape and dtype that sterna.json says; export again");
    return tensor;
  }

  void read_plain(const std::string& name) {
    const at::Tensor stored = raw(name);
    if (stored.scalar_type() == at::kByte)
      throw io::FileError(file_->path().string() + ": tensor '" + name + "' holds no numbers");
    result_.storage[name] = io::dtype_name(view(name).dtype);
    result_.weights.tensors[name] = stored.to(at::kFloat);
  }

  void read_q8_0(const std::string& name, Fields& fields) {
    const auto [n, k] = fields.shape();
    if (k % kBlock != 0)
      fields.fail("has rows that are no whole number of blocks");
    const at::Tensor blocks = raw(name + ".q8_0", at::kByte, {n, k / kBlock * kBlockBytes});
    io::TensorView block_view;
    block_view.name = name;
    block_view.dtype = io::Dtype::kQ8_0;
    block_view.shape = {n, k};
    block_view.bytes = {static_cast<const std::byte*>(blocks.const_data_ptr()),
                        static_cast<size_t>(blocks.numel())};
    at::Tensor values = at::empty({n, k}, at::kFloat);
    io::to_float(block_view, {values.mutable_data_ptr<float>(), static_cast<size_t>(n * k)});
    result_.storage[name] = "q8_0";
    result_.weights.tensors[name] = values;
  }

  void read_codes(const std::string& name, Fields& fields) {
    const auto [n, k] = fields.shape();
    quant::Encoded e;
    read_scheme(fields, k, e);
    try {
      e.codes = quant::unpack_codes(
          raw(name + ".codes", at::kByte, {n, quant::packed_row_bytes(k, e.bits)}),
          k,
          e.bits,
          e.code_min);
      read_scales(name, fields, e);
    } catch (const c10::Error& error) {
      fields.fail(std::string("holds damaged codes: ") + error.what_without_backtrace());
    }
    if (e.grid == quant::Grid::kLevels)
      read_levels(name, fields, e);
    result_.storage[name] = "codes";
    result_.weights.tensors[name] = quant::decode(e);
    result_.weights.encoded[name] = std::move(e);
  }

  static void read_scheme(Fields& fields, int64_t k, quant::Encoded& e) {
    const std::string grid = fields.text("grid");
    if (grid != "affine" && grid != "levels")
      fields.fail("has the unknown grid '" + grid + "'");
    e.grid = grid == "affine" ? quant::Grid::kAffine : quant::Grid::kLevels;
    e.bits = fields.integer("bits");
    e.code_min = fields.integer("code_min");
    e.group = fields.integer("group");
    e.offset = fields.number("offset");
    if (e.bits < 1 || e.bits > 8 || e.code_min < -128 || e.code_min > 127)
      fields.fail("has bits or code_min out of range");
    if (e.group < 1 || k % e.group != 0)
      fields.fail("has a group that does not divide its inputs");
    const std::string dtype = fields.text("scale_dtype");
    if (dtype != "BF16" && dtype != "F16" && dtype != "F32")
      fields.fail("has the unknown scale_dtype '" + dtype + "'");
    e.scale_dtype = dtype == "BF16" ? at::kBFloat16 : dtype == "F16" ? at::kHalf : at::kFloat;
  }

  at::Tensor scales_of(const std::string& name, const Fields& fields, const quant::Encoded& e) {
    const at::Tensor stored = raw(name);
    const std::vector<int64_t> each = {e.codes.size(0), e.codes.size(1) / e.group};
    if (stored.scalar_type() != e.scale_dtype ||
        (stored.sizes() != each && stored.sizes() != std::vector<int64_t>{1, 1}))
      fields.fail("has scales of another shape or dtype than its scheme says");
    return stored.to(at::kFloat);
  }

  void read_scales(const std::string& name, Fields& fields, quant::Encoded& e) {
    e.scales = scales_of(name + ".scales", fields, e);
    if (fields.flag("scales_below")) {
      e.scales_below = scales_of(name + ".scales_below", fields, e);
      if (e.grid != quant::Grid::kLevels || e.scales_below.sizes() != e.scales.sizes())
        fields.fail("has scales below zero that its scheme has no use for");
    }
    const std::string zeros = fields.text("zeros");
    if (zeros == "F32") {
      e.zeros = raw(name + ".zeros", at::kFloat, e.scales.sizes());
    } else if (zeros == "packed") {
      const int64_t columns = e.scales.size(1);
      const at::Tensor packed = raw(
          name + ".zeros", at::kByte, {e.scales.size(0), quant::packed_row_bytes(columns, e.bits)});
      e.zeros = quant::unpack_codes(packed, columns, e.bits, e.code_min).to(at::kFloat);
    } else if (zeros != "none") {
      fields.fail("has the unknown storage of zeros '" + zeros + "'");
    }
  }

  // decode() indexes levels by code, and their rows by zero, so neither may point beyond the table.
  void read_levels(const std::string& name, const Fields& fields, quant::Encoded& e) {
    e.levels = raw(name + ".levels");
    const bool table =
        e.levels.dim() == (e.zeros.defined() ? 2 : 1) && e.levels.scalar_type() == at::kFloat;
    if (!table ||
        (e.codes.numel() > 0 && e.codes.max().item<int64_t>() - e.code_min >= e.levels.size(-1)))
      fields.fail("has codes beyond its table of levels");
    const auto rows = static_cast<double>(e.levels.size(0));
    if (e.zeros.defined() &&
        !((e.zeros >= 0).logical_and(e.zeros < rows).logical_and(e.zeros == e.zeros.floor()))
             .all()
             .item<bool>())
      fields.fail("has groups that choose a row beyond its table of levels");
  }

  fs::path path_;
  std::unique_ptr<io::TensorFile> file_;
  std::set<std::string> used_;
  SternaExport result_;
};

}  // namespace

bool is_sterna_export(const fs::path& path) {
  return fs::is_regular_file(path / "sterna.json");
}

SternaExport open_sterna_export(const fs::path& path) {
  return Reader(path).read();
}

}  // namespace sterna::model
