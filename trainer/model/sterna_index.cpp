// sterna.json, read strictly: every field is known and has its type.
#include "trainer/model/sterna_index.h"

#include <set>

#include <nlohmann/json.hpp>

#include "trainer/io/json.h"
#include "trainer/io/tensor_file.h"

namespace sterna::model {
namespace {

using nlohmann::json;

constexpr int64_t kExportFormat = 1;

[[noreturn]] void refuse_entry(const std::string& who, const std::string& what) {
  throw io::FileError(who + " " + what + "; export the run again");
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

  [[noreturn]] void fail(const std::string& what) const { refuse_entry(who_, what); }

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

void read_scheme(Fields& fields, SternaEntry& entry) {
  quant::Encoded& e = entry.scheme;
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
  if (e.group < 1 || entry.k % e.group != 0)
    fields.fail("has a group that does not divide its inputs");
  const std::string dtype = fields.text("scale_dtype");
  if (dtype != "BF16" && dtype != "F16" && dtype != "F32")
    fields.fail("has the unknown scale_dtype '" + dtype + "'");
  e.scale_dtype = dtype == "BF16" ? at::kBFloat16 : dtype == "F16" ? at::kHalf : at::kFloat;
  entry.scales_below = fields.flag("scales_below");
  const std::string zeros = fields.text("zeros");
  if (zeros != "none" && zeros != "packed" && zeros != "F32")
    fields.fail("has the unknown storage of zeros '" + zeros + "'");
  entry.zeros = zeros == "none"     ? SternaEntry::Zeros::kNone
                : zeros == "packed" ? SternaEntry::Zeros::kPacked
                                    : SternaEntry::Zeros::kF32;
}

SternaEntry entry_of(const json& storage, const std::string& who) {
  Fields fields(storage, who);
  SternaEntry entry;
  entry.who = who;
  const std::string kind = fields.text("storage");
  if (kind != "plain" && kind != "q8_0" && kind != "codes")
    fields.fail("has the unknown storage '" + kind + "'");
  if (kind != "plain")
    std::tie(entry.n, entry.k) = fields.shape();
  if (kind == "q8_0")
    entry.storage = SternaEntry::Storage::kQ8_0;
  if (kind == "codes") {
    entry.storage = SternaEntry::Storage::kCodes;
    read_scheme(fields, entry);
  }
  fields.finish();
  return entry;
}

}  // namespace

void SternaEntry::refuse(const std::string& what) const {
  refuse_entry(who, what);
}

SternaIndex read_sterna_index(const std::filesystem::path& file) {
  const json root = io::read_json(file);
  if (!root.is_object() || root.value("format", json()) != kExportFormat ||
      root.value("layout", json()) != "sterna" || !root.contains("tensors") ||
      !root["tensors"].is_object())
    throw io::FileError(file.string() +
                        ": no layout 'sterna' of format 1; export the run again with this program");
  SternaIndex index;
  for (const auto& [name, storage] : root["tensors"].items())
    index.tensors.emplace(name, entry_of(storage, file.string() + ": tensor '" + name + "'"));
  if (root.contains("activations")) {
    Fields fields(root["activations"], file.string() + ": 'activations'");
    index.act_recipe = fields.text("recipe");
    index.act_tensors = fields.texts("tensors");
    fields.finish();
  }
  return index;
}

}  // namespace sterna::model
