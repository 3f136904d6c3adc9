#include "trainer/model/gguf_codes.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include "trainer/io/ggml_block.h"
#include "trainer/io/mapped_file.h"

namespace sterna::model {
namespace {

using nlohmann::json;

constexpr std::pair<const char*, at::ScalarType> kGgufScaleTypes[] = {
    {"BF16", at::kBFloat16}, {"F16", at::kHalf}, {"F32", at::kFloat}};

json json_of_scheme(const GgufScheme& scheme) {
  const quant::Encoded& e = scheme.grid;
  json entry = {{"bits", e.bits},
                {"code_min", e.code_min},
                {"group", e.group},
                {"offset", e.offset},
                {"one_scale", scheme.one_scale},
                {"zeros", scheme.zeros},
                {"halves", scheme.halves},
                {"negated", scheme.negated}};
  for (const auto& [name, type] : kGgufScaleTypes)
    if (type == e.scale_dtype)
      entry["scale_dtype"] = name;
  if (e.grid == quant::Grid::kLevels)
    entry["levels"] = std::vector<float>(e.levels.const_data_ptr<float>(),
                                         e.levels.const_data_ptr<float>() + e.levels.numel());
  return entry;
}

GgufScheme scheme_of_json(const json& entry) {
  GgufScheme scheme;
  quant::Encoded& e = scheme.grid;
  e.bits = entry.at("bits").get<int64_t>();
  e.code_min = entry.at("code_min").get<int64_t>();
  e.group = entry.at("group").get<int64_t>();
  e.offset = entry.at("offset").get<double>();
  scheme.one_scale = entry.at("one_scale").get<bool>();
  scheme.zeros = entry.at("zeros").get<bool>();
  scheme.halves = entry.at("halves").get<bool>();
  scheme.negated = entry.at("negated").get<bool>();
  const auto dtype = entry.at("scale_dtype").get<std::string>();
  const auto* type = std::find_if(std::begin(kGgufScaleTypes),
                                  std::end(kGgufScaleTypes),
                                  [&](const auto& known) { return dtype == known.first; });
  const bool in_int8 = e.bits >= 1 && e.bits <= 8 && e.code_min >= INT8_MIN && e.code_min <= 0;
  if (type == std::end(kGgufScaleTypes) || !in_int8 || e.group < 1)
    throw io::FileError("bits, code_min, group or scale_dtype is none that codes have");
  e.scale_dtype = type->second;
  if (entry.contains("levels")) {
    const auto levels = entry.at("levels").get<std::vector<float>>();
    if (levels.empty() || levels.size() > size_t{1} << e.bits)
      throw io::FileError("as many levels as codes are expected");
    e.grid = quant::Grid::kLevels;
    e.levels = at::tensor(levels);
  }
  return scheme;
}

/// Turns the blocks of a row into codes; false where they hold none of that scheme.
class GgufRowReader {
 public:
  GgufRowReader(const io::TensorView& view, const GgufScheme& scheme, quant::Encoded& out)
      : view_(view),
        scheme_(scheme),
        out_(out),
        k_(view.shape[1]),
        elements_(static_cast<int64_t>(io::block_elements(view.dtype))),
        sub_(io::sub_block_elements(view.dtype)),
        bytes_(static_cast<int64_t>(io::bytes_of(view.dtype, io::block_elements(view.dtype)))) {
    for (int64_t i = 0; scheme.grid.levels.defined() && i < scheme.grid.levels.numel(); ++i)
      by_level_.emplace(scheme.grid.levels.const_data_ptr<float>()[i], i);
  }

  bool read(int64_t row) const {
    io::GgmlBlock block;
    const std::byte* from = view_.bytes.data() + row * (k_ / elements_) * bytes_;
    for (int64_t begin = 0; begin < k_; begin += elements_, from += bytes_) {
      io::unpack_block(view_.dtype, from, block);
      if ((sub_ != elements_ && block.m != block.d) || !read_block(block, row, begin))
        return false;
    }
    return true;
  }

 private:
  bool read_block(const io::GgmlBlock& block, int64_t row, int64_t begin) const {
    const quant::Encoded& e = out_;
    auto* codes = e.codes.mutable_data_ptr<int8_t>() + row * k_;
    const float step = (scheme_.negated ? -block.d : block.d) * (scheme_.halves ? 2.0F : 1.0F);
    for (int64_t i = begin; i < begin + elements_; ++i) {
      const auto part = static_cast<size_t>((i - begin) / sub_);
      const int min = sub_ != elements_ ? block.min[part] : 0;
      const int q = block.q[static_cast<size_t>(i - begin)];
      if (i % e.group == 0 || i == begin || (i - begin) % sub_ == 0) {
        const int64_t group = scheme_.one_scale ? 0 : row * (k_ / e.group) + i / e.group;
        if (!set(e.scales, group, step) ||
            (scheme_.zeros && !set(e.zeros, group, static_cast<float>(min + e.code_min))))
          return false;
      }
      const int n = block.scale[part] * q - min;
      const double code = scheme_.zeros ? q : code_of(scheme_.negated ? -n : n);
      if (!(code >= 0 && code < static_cast<double>(int64_t{1} << e.bits)) ||
          code != std::floor(code))
        return false;
      codes[i] = static_cast<int8_t>(static_cast<int64_t>(code) + e.code_min);
    }
    return true;
  }

  /// Above the smallest code.
  double code_of(int n) const {
    const double level = n * (scheme_.halves ? 0.5 : 1.0);
    if (out_.grid != quant::Grid::kLevels)
      return level + out_.offset - static_cast<double>(out_.code_min);
    const auto found = by_level_.find(static_cast<float>(level));
    return found == by_level_.end() ? -1.0 : static_cast<double>(found->second);
  }

  // NaN until a block says it; all blocks of a group must agree.
  static bool set(const Tensor& values, int64_t at, float value) {
    float& held = values.mutable_data_ptr<float>()[at];
    held = std::isnan(held) ? value : held;
    return held == value;
  }

  const io::TensorView& view_;
  const GgufScheme& scheme_;
  quant::Encoded& out_;
  int64_t k_;
  int64_t elements_;
  int64_t sub_;
  int64_t bytes_;
  std::map<float, int64_t> by_level_;
};

}  // namespace

std::string gguf_schemes_text(const std::map<std::string, GgufScheme>& schemes) {
  json root = json::object();
  for (const auto& [name, scheme] : schemes)
    root[name] = json_of_scheme(scheme);
  return root.dump();
}

std::map<std::string, GgufScheme> read_gguf_schemes(const io::Gguf& file) {
  std::map<std::string, GgufScheme> schemes;
  if (!file.has(kGgufSchemes))
    return schemes;
  std::string who;
  try {
    const json root = json::parse(file.text(kGgufSchemes));
    for (const auto& [name, entry] : root.items()) {
      who = "tensor '" + name + "': ";
      schemes.emplace(name, scheme_of_json(entry));
    }
  } catch (const std::exception& error) {
    throw io::FileError(file.path().string() + ": metadata key '" + kGgufSchemes + "': " + who +
                        error.what() + "; export the run again");
  }
  return schemes;
}

quant::Encoded read_gguf_codes(const io::TensorView& view,
                               const GgufScheme& scheme,
                               const std::filesystem::path& path) {
  const auto refuse = [&] {
    throw io::FileError(path.string() + ": tensor '" + view.name +
                        "': its blocks do not hold the " + "codes that '" + kGgufSchemes +
                        "' announces; export the run again");
  };
  quant::Encoded e = scheme.grid;
  if (view.shape.size() != 2 || io::block_elements(view.dtype) == 1 || view.shape[1] % e.group != 0)
    refuse();
  const int64_t n = view.shape[0], k = view.shape[1];
  e.codes = at::empty({n, k}, at::kChar);
  e.scales = at::full({scheme.one_scale ? 1 : n, scheme.one_scale ? 1 : k / e.group}, NAN);
  if (scheme.zeros)
    e.zeros = at::full_like(e.scales, NAN);
  const GgufRowReader reader(view, scheme, e);
  std::atomic<bool> whole = true;
  // One scale for all is written by every row.
  at::parallel_for(0, n, scheme.one_scale ? n : 16, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end && whole; ++row)
      whole = reader.read(row) && whole;
  });
  io::release_pages(view.bytes);
  if (!whole)
    refuse();
  return e;
}

}  // namespace sterna::model
