// A matrix of compressed-tensors' "pack-quantized": rows are little-endian bit streams in words of
// 32 bits, zero points are packed likewise down the rows; W = (q - zero) * scale.
#include "trainer/model/packed_matrix.h"
#include "trainer/model/view_copy.h"

namespace sterna::model {
namespace {

int64_t words_of(int64_t codes, int64_t bits) {
  return (codes * bits + 31) / 32;
}

class CtMatrix final : public PackedMatrix {
 public:
  CtMatrix(const ModuleParts& parts, const HfQuantization::Scheme& scheme)
      : PackedMatrix(parts), bits_(scheme.bits), symmetric_(scheme.symmetric) {
    read_shape();
    group_ = scheme.group == 0 ? k_ : scheme.group;
    if (k_ % group_ != 0)
      parts_.refuse("weight_scale",
                    "groups of " + std::to_string(group_) + " do not divide " + std::to_string(k_) +
                        " inputs");
    packed_ = &parts_.need("weight_packed", {io::Dtype::kI32}, {n_, words_of(k_, bits_)});
    scales_ = &parts_.need(
        "weight_scale", {io::Dtype::kBF16, io::Dtype::kF16, io::Dtype::kF32}, {n_, k_ / group_});
    if (!symmetric_)
      zeros_ =
          &parts_.need("weight_zero_point", {io::Dtype::kI32}, {words_of(n_, bits_), k_ / group_});
    else if (parts_.find("weight_zero_point") != nullptr)
      parts_.refuse("weight_zero_point", "expected none, since its group is symmetric");
    if (parts_.find("weight_g_idx") != nullptr)
      parts_.refuse("weight_g_idx", "inputs in another order (actorder) are not read");
  }

  quant::Encoded tables() const override {
    quant::Encoded e;
    e.bits = bits_;
    e.code_min = smallest_code(bits_, symmetric_);
    e.group = group_;
    const Tensor scales = copy_of(*scales_);
    e.scale_dtype = scales.scalar_type();
    e.scales = scales.to(at::kFloat);
    if (zeros_ != nullptr)
      e.zeros =
          unpack_words(copy_of(*zeros_).t(), n_, bits_, e.code_min).t().to(at::kFloat).contiguous();
    return e;
  }

  Tensor rows(int64_t first, int64_t count) const override {
    io::TensorView rows = *packed_;
    const auto row = static_cast<size_t>(rows.shape[1]) * 4;
    rows.shape[0] = count;
    rows.bytes =
        rows.bytes.subspan(static_cast<size_t>(first) * row, static_cast<size_t>(count) * row);
    return unpack_words(copy_of(rows), k_, bits_, smallest_code(bits_, symmetric_));
  }

 private:
  void read_shape() {
    const io::TensorView& view =
        parts_.need("weight_shape", {io::Dtype::kI64, io::Dtype::kI32}, {2});
    const Tensor shape = copy_of(view).to(at::kLong);
    n_ = shape[0].item<int64_t>();
    k_ = shape[1].item<int64_t>();
    if (n_ < 1 || k_ < 1 || n_ > INT32_MAX || k_ > INT32_MAX)
      parts_.refuse("weight_shape", "expected two sizes from 1 to 2^31 - 1");
  }

  int64_t bits_;
  bool symmetric_;
  int64_t group_ = 0;
  const io::TensorView* packed_ = nullptr;
  const io::TensorView* scales_ = nullptr;
  const io::TensorView* zeros_ = nullptr;
};

}  // namespace

std::unique_ptr<PackedMatrix> open_ct_matrix(const ModuleParts& parts,
                                             const HfQuantization& settings) {
  return std::make_unique<CtMatrix>(parts, settings.scheme_of(parts.module()));
}

}  // namespace sterna::model
