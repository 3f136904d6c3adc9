// Weights of safetensors files.
#include "trainer/model/file_weights.h"

#include <atomic>
#include <bit>

#include <ATen/Parallel.h>

#include "trainer/io/mapped_file.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/hf_quantization.h"
#include "trainer/model/packed_matrix.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

bool holds_weights(io::Dtype dtype) {
  switch (dtype) {
    case io::Dtype::kBool:
    case io::Dtype::kU8:
    case io::Dtype::kI8:
    case io::Dtype::kI16:
    case io::Dtype::kU16:
    case io::Dtype::kI32:
    case io::Dtype::kU32:
    case io::Dtype::kI64:
    case io::Dtype::kU64:
      return false;
    default:
      return true;  // what is not read at all, to_float refuses
  }
}

// Elements that are converted at a time: whole blocks of every type, and small against any matrix.
constexpr int64_t kPiece = int64_t{1} << 18;

// The optimizer's -O2 leaves loops of unknown length unvectorized.
__attribute__((optimize("O3"))) bool all_finite(const float* x, int64_t size) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t worst = 0;
  for (int64_t i = 0; i < size; ++i)
    worst = std::max(worst, std::bit_cast<uint32_t>(x[i]) & kExponent);
  return worst != kExponent;
}

io::TensorView piece_of(const io::TensorView& view, int64_t first, int64_t size) {
  io::TensorView piece = view;
  piece.shape = {size};
  piece.bytes = view.bytes.subspan(io::bytes_of(view.dtype, first), io::bytes_of(view.dtype, size));
  return piece;
}

// Elements [first, first + size) of `flat`, by way of fp32. @return  whether all are finite
bool convert(const io::TensorView& view, int64_t first, int64_t size, Tensor& flat) {
  const at::NoGradGuard no_grad;
  Tensor target = flat.narrow(0, first, size);
  const bool direct = target.scalar_type() == at::kFloat;
  const Tensor wide = direct ? target : at::empty({size}, at::kFloat);
  auto* values = wide.mutable_data_ptr<float>();
  io::to_float(piece_of(view, first, size), {values, static_cast<size_t>(size)});
  if (!direct)
    target.copy_(wide);
  return all_finite(values, size);
}

class HfWeights final : public FileWeights {
 public:
  HfWeights(const fs::path& folder, std::string family)
      : FileWeights(io::open_safetensors(folder)), family_(std::move(family)) {
    const FamilyNames& names = names_of(family_);
    for (const io::TensorView& view : file().tensors()) {
      const std::string name = parameter_name(names, view.name);
      if (!name.empty())
        add(name, view);
    }
  }

  std::vector<int64_t> shape(const std::string& name) const override {
    std::vector<int64_t> shape = FileWeights::shape(name);
    if (stored_transposed(family_, name) && shape.size() == 2)
      std::swap(shape[0], shape[1]);
    return shape;
  }
  Tensor take(const std::string& name, at::ScalarType dtype) override {
    const Tensor values = FileWeights::take(name, dtype);
    return stored_transposed(family_, name) ? values.t().contiguous() : values;
  }

 private:
  std::string family_;
};

}  // namespace

std::string parameter_name(const FamilyNames& names, const std::string& stored) {
  for (const std::string_view end : names.buffers)
    if (stored.ends_with(end))
      return "";
  const bool full = stored.starts_with(names.prefix) || stored.starts_with("lm_head.");
  return full ? stored : std::string(names.prefix) + stored;
}

Tensor read_values(const io::TensorView& view, const fs::path& path, at::ScalarType dtype) {
  const auto refuse = [&](const std::string& why) {
    throw io::FileError(path.string() + ": tensor '" + view.name + "': " + why);
  };
  if (!holds_weights(view.dtype))
    refuse("expected floating-point weights, found " + std::string(io::dtype_name(view.dtype)) +
           "; codes of another program's quantizer are read where config.json names their layout");
  const Tensor values = at::empty(view.shape, dtype);
  Tensor flat = values.view({-1});
  std::atomic<bool> finite = true;
  const int64_t pieces = (flat.numel() + kPiece - 1) / kPiece;
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (!convert(view, i * kPiece, std::min(kPiece, flat.numel() - i * kPiece), flat))
        finite = false;
    }
  });
  io::release_pages(view.bytes);
  if (!finite)
    refuse("holds NaN or Inf; the checkpoint is damaged or its training diverged");
  return values;
}

std::vector<std::string> FileWeights::names() const {
  std::vector<std::string> all;
  for (const auto& [name, view] : views_)
    all.push_back(name);
  return all;
}

std::vector<int64_t> FileWeights::shape(const std::string& name) const {
  return views_.at(name)->shape;
}

Tensor FileWeights::take(const std::string& name, at::ScalarType dtype) {
  return read_values(*views_.at(name), path(), dtype);
}

void FileWeights::add(const std::string& name, const io::TensorView& view) {
  if (!views_.emplace(name, &view).second)
    throw io::FileError(file_->path().string() + ": two tensors stand for " + name + ", one is " +
                        view.name);
}

std::unique_ptr<WeightSource> open_hf_weights(const fs::path& folder, const DecoderConfig& config) {
  if (!hf_quant_method(folder).empty())
    return open_packed_hf_weights(folder, config.family);
  return std::make_unique<HfWeights>(folder, config.family);
}

}  // namespace sterna::model
