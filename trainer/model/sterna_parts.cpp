#include "trainer/model/sterna_parts.h"

#include "quant/pack.h"

namespace sterna::model {
namespace {

constexpr int64_t kBlock = 32;  // weights of one Q8_0 block
constexpr int64_t kBlockBytes = 34;

io::Dtype file_dtype_of(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? io::Dtype::kBF16
         : dtype == at::kHalf   ? io::Dtype::kF16
                                : io::Dtype::kF32;
}

void require_plain(const io::TensorView& view, const SternaEntry& entry) {
  for (const io::Dtype dtype : {io::Dtype::kBF16, io::Dtype::kF16, io::Dtype::kF32}) {
    if (view.dtype == dtype)
      return;
  }
  entry.refuse("is stored as " + std::string(io::dtype_name(view.dtype)) +
               ", which does not occur in this layout");
}

}  // namespace

PartFinder::PartFinder(const io::TensorFile& file) : file_(file) {
  for (const io::TensorView& view : file.tensors())
    views_.emplace(view.name, &view);
}

SternaParts PartFinder::find(const std::string& name, const SternaEntry& entry) {
  SternaParts parts;
  parts.entry = &entry;
  switch (entry.storage) {
    case SternaEntry::Storage::kPlain:
      parts.values = &view(name);
      require_plain(*parts.values, entry);
      break;
    case SternaEntry::Storage::kQ8_0:
      if (entry.k % kBlock != 0)
        entry.refuse("has rows that are no whole number of blocks");
      parts.values =
          &view(name + ".q8_0", io::Dtype::kU8, {entry.n, entry.k / kBlock * kBlockBytes});
      break;
    case SternaEntry::Storage::kCodes:
      find_codes(name, parts);
  }
  return parts;
}

const io::TensorView& PartFinder::view(const std::string& name) {
  used_.insert(name);
  const auto found = views_.find(name);
  return found == views_.end() ? file_.at(name) : *found->second;  // at() names the nearest
}

void PartFinder::require_all_used() const {
  for (const auto& [name, view] : views_) {
    if (!used_.contains(name))
      throw io::FileError(file_.path().string() + ": tensor '" + name +
                          "' is not listed in sterna.json; export the run again");
  }
}

const io::TensorView& PartFinder::view(const std::string& name,
                                       io::Dtype dtype,
                                       const Shape& shape) {
  const io::TensorView& found = view(name);
  if (found.dtype != dtype || found.shape != shape)
    throw io::FileError(file_.path().string() + ": tensor '" + name +
                        "' is not of the shape and dtype that sterna.json says; export again");
  return found;
}

void PartFinder::find_codes(const std::string& name, SternaParts& parts) {
  const SternaEntry& entry = *parts.entry;
  const quant::Encoded& scheme = entry.scheme;
  parts.values = &view(
      name + ".codes", io::Dtype::kU8, {entry.n, quant::packed_row_bytes(entry.k, scheme.bits)});
  parts.scales = &scales(name + ".scales", entry);
  const std::vector<int64_t>& shape = parts.scales->shape;
  if (entry.scales_below) {
    parts.scales_below = &scales(name + ".scales_below", entry);
    if (scheme.grid != quant::Grid::kLevels || parts.scales_below->shape != shape)
      entry.refuse("has scales below zero that its scheme has no use for");
  }
  if (entry.zeros == SternaEntry::Zeros::kF32)
    parts.zeros = &view(name + ".zeros", io::Dtype::kF32, shape);
  if (entry.zeros == SternaEntry::Zeros::kPacked)
    parts.zeros = &view(name + ".zeros",
                        io::Dtype::kU8,
                        {shape[0], quant::packed_row_bytes(shape[1], scheme.bits)});
  if (scheme.grid != quant::Grid::kLevels)
    return;
  parts.levels = &view(name + ".levels");
  if (parts.levels->dtype != io::Dtype::kF32 ||
      parts.levels->shape.size() != (parts.zeros == nullptr ? 1 : 2))
    entry.refuse("has codes beyond its table of levels");
}

const io::TensorView& PartFinder::scales(const std::string& name, const SternaEntry& entry) {
  const io::TensorView& found = view(name);
  const std::vector<int64_t> each = {entry.n, entry.k / entry.scheme.group};
  if (found.dtype != file_dtype_of(entry.scheme.scale_dtype) ||
      (found.shape != each && found.shape != std::vector<int64_t>{1, 1}))
    entry.refuse("has scales of another shape or dtype than its scheme says");
  return found;
}

}  // namespace sterna::model
