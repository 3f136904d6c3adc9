#include "trainer/model/sterna_export.h"

#include "quant/pack.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/file_weights.h"
#include "trainer/model/sterna_parts.h"
#include "trainer/model/view_copy.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kCodesAtOnce = int64_t{1} << 18;

/// Rows [first, first + count) of a matrix of bytes.
Tensor rows_of(const io::TensorView& view, int64_t first, int64_t count) {
  io::TensorView rows = view;
  rows.shape[0] = count;
  rows.bytes = view.bytes.subspan(static_cast<size_t>(first * view.shape[1]),
                                  static_cast<size_t>(count * view.shape[1]));
  return copy_of(rows);
}

/// All of a matrix but its codes.
quant::Encoded read_tables(const SternaParts& parts) {
  quant::Encoded e = parts.entry->scheme;
  e.scales = copy_of(*parts.scales).to(at::kFloat);
  if (parts.scales_below != nullptr)
    e.scales_below = copy_of(*parts.scales_below).to(at::kFloat);
  if (parts.zeros != nullptr)
    e.zeros = copy_of(*parts.zeros);
  if (parts.entry->zeros == SternaEntry::Zeros::kPacked)
    e.zeros = quant::unpack_codes(e.zeros, e.scales.size(1), e.bits, e.code_min).to(at::kFloat);
  if (parts.levels == nullptr)
    return e;
  e.levels = copy_of(*parts.levels);
  // decode() indexes rows of levels by zero.
  const auto rows = static_cast<double>(e.levels.size(0));
  if (e.zeros.defined() &&
      !((e.zeros >= 0).logical_and(e.zeros < rows).logical_and(e.zeros == e.zeros.floor()))
           .all()
           .item<bool>())
    parts.entry->refuse("has groups that choose a row beyond its table of levels");
  return e;
}

/// Rows of a matrix, with the tables that read_tables() gave.
quant::Encoded read_rows(const SternaParts& parts,
                         const quant::Encoded& tables,
                         int64_t first,
                         int64_t count) {
  quant::Encoded e = tables;
  for (Tensor* of_rows : {&e.scales, &e.scales_below, &e.zeros}) {
    if (of_rows->defined() && of_rows->numel() > 1)  // one alone serves all
      *of_rows = of_rows->narrow(0, first, count);
  }
  e.codes =
      quant::unpack_codes(rows_of(*parts.values, first, count), parts.entry->k, e.bits, e.code_min);
  // decode() indexes levels by code.
  if (e.grid == quant::Grid::kLevels && e.codes.numel() > 0 &&
      e.codes.max().item<int64_t>() - e.code_min >= e.levels.size(-1))
    parts.entry->refuse("has codes beyond its table of levels");
  return e;
}

/// ggml's blocks of 32, an IEEE half and 32 signed bytes, as codes and scales.
quant::Encoded q8_0_integers(const SternaParts& parts) {
  constexpr int64_t kBlock = 32, kBytes = 34;
  const int64_t n = parts.entry->n, blocks = parts.entry->k / kBlock;
  quant::Encoded e;
  e.group = kBlock;
  e.bits = 8;
  e.code_min = INT8_MIN;
  e.scale_dtype = at::kHalf;
  const Tensor stored = copy_of(*parts.values).view({n, blocks, kBytes});
  e.scales = stored.narrow(2, 0, 2).contiguous().view(at::kHalf).view({n, blocks}).to(at::kFloat);
  e.codes = stored.narrow(2, 2, kBlock).contiguous().view(at::kChar).view({n, blocks * kBlock});
  return e;
}

/// What `read` gives; the pages that it looked at are given back.
template <class Read>
auto reading(const SternaParts& parts, const Read& read) {
  try {
    auto result = read();
    for (const io::TensorView* part :
         {parts.values, parts.scales, parts.scales_below, parts.zeros, parts.levels}) {
      if (part != nullptr)
        io::release_pages(part->bytes);
    }
    return result;
  } catch (const c10::Error& error) {
    if (std::string_view(error.what()).find("DefaultCPUAllocator") != std::string_view::npos)
      throw;  // no room for them says nothing of the codes
    parts.entry->refuse(std::string("holds damaged codes: ") + error.what_without_backtrace());
  }
}

/// A few rows of codes at a time.
Tensor decoded(const SternaParts& parts, at::ScalarType dtype) {
  const int64_t n = parts.entry->n;
  const int64_t k = parts.entry->k;
  const int64_t step = std::max<int64_t>(kCodesAtOnce / std::max<int64_t>(k, 1), 1);
  return reading(parts, [&] {
    Tensor values = at::empty({n, k}, dtype);
    const quant::Encoded tables = read_tables(parts);
    for (int64_t first = 0; first < n; first += step) {
      Tensor rows = values.narrow(0, first, std::min(step, n - first));
      quant::decode_into(read_rows(parts, tables, first, rows.size(0)), rows);
    }
    return values;
  });
}

class SternaWeights final : public WeightSource {
 public:
  explicit SternaWeights(const fs::path& folder)
      : index_(read_sterna_index(folder / "sterna.json")),
        file_(io::open_safetensors(folder / "sterna.safetensors")) {
    PartFinder finder(*file_);
    for (const auto& [name, entry] : index_.tensors)
      parts_.emplace(name, finder.find(name, entry));
    for (const std::string& name : index_.act_tensors) {
      act_state_.push_back(&finder.view(name));
      if (act_state_.back()->dtype != io::Dtype::kF32)
        throw io::FileError((folder / "sterna.json").string() +
                            ": 'activations' names the tensor '" + name +
                            "', which is not F32; export the run again");
    }
    finder.require_all_used();
  }

  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, parts] : parts_)
      all.push_back(name);
    return all;
  }

  std::vector<int64_t> shape(const std::string& name) const override {
    const SternaParts& parts = parts_.at(name);
    if (parts.entry->storage == SternaEntry::Storage::kPlain)
      return parts.values->shape;
    return {parts.entry->n, parts.entry->k};
  }

  Tensor take(const std::string& name, at::ScalarType dtype) override {
    const SternaParts& parts = parts_.at(name);
    if (parts.entry->storage == SternaEntry::Storage::kCodes)
      return decoded(parts, dtype);
    io::TensorView view = *parts.values;
    if (parts.entry->storage == SternaEntry::Storage::kQ8_0) {
      view.dtype = io::Dtype::kQ8_0;
      view.shape = shape(name);
    }
    return read_values(view, file_->path(), dtype);
  }

  std::optional<quant::Encoded> codes(const std::string& name) override {
    const SternaParts& parts = parts_.at(name);
    if (parts.entry->storage != SternaEntry::Storage::kCodes)
      return std::nullopt;
    return reading(parts, [&] { return read_rows(parts, read_tables(parts), 0, parts.entry->n); });
  }

  bool has_integers(const std::string& name) const override {
    return parts_.at(name).entry->storage != SternaEntry::Storage::kPlain;
  }

  std::optional<quant::Encoded> integers(const std::string& name) override {
    const SternaParts& parts = parts_.at(name);
    if (parts.entry->storage != SternaEntry::Storage::kQ8_0)
      return codes(name);
    return reading(parts, [&] { return q8_0_integers(parts); });
  }

  Activations activations() override {
    Activations activations{index_.act_recipe, {}};
    for (const io::TensorView* view : act_state_)
      activations.state[view->name] = copy_of(*view);
    return activations;
  }

  fs::path path() const override { return file_->path(); }

  /// "codes", "q8_0", "BF16", ... by name.
  std::map<std::string, std::string> storage() const {
    std::map<std::string, std::string> all;
    for (const auto& [name, parts] : parts_) {
      const auto kind = parts.entry->storage;
      all[name] = kind == SternaEntry::Storage::kCodes  ? "codes"
                  : kind == SternaEntry::Storage::kQ8_0 ? "q8_0"
                                                        : io::dtype_name(parts.values->dtype);
    }
    return all;
  }

 private:
  SternaIndex index_;
  std::unique_ptr<io::TensorFile> file_;
  std::map<std::string, SternaParts> parts_;
  std::vector<const io::TensorView*> act_state_;
};

}  // namespace

bool is_sterna_export(const fs::path& path) {
  return fs::is_regular_file(path / "sterna.json");
}

std::unique_ptr<WeightSource> open_sterna_weights(const fs::path& folder) {
  return std::make_unique<SternaWeights>(folder);
}

SternaExport open_sterna_export(const fs::path& path) {
  SternaWeights source(path);
  return {read_all(source, source.names()), source.storage()};
}

}  // namespace sterna::model
