// A ternary matrix as transformers' BitNet layers have it: packed row r of R holds, two bits each,
// the rows r, r + R, r + 2 R and r + 3 R of value + 1; one scale for all.
#include "trainer/model/packed_matrix.h"
#include "trainer/model/view_copy.h"

namespace sterna::model {
namespace {

constexpr int64_t kTogether = 4;

class BitnetMatrix final : public PackedMatrix {
 public:
  BitnetMatrix(const ModuleParts& parts, bool inverse) : PackedMatrix(parts), inverse_(inverse) {
    weight_ = &parts_.need("weight", {io::Dtype::kU8}, {-1, -1});
    scale_ =
        &parts_.need("weight_scale", {io::Dtype::kBF16, io::Dtype::kF16, io::Dtype::kF32}, {1});
    n_ = weight_->shape[0] * kTogether;
    k_ = weight_->shape[1];
    if (n_ < 1 || k_ < 1 || n_ > INT32_MAX || k_ > INT32_MAX)
      parts_.refuse("weight", "expected a matrix, found none of a sensible size");
    // Readers multiply it with the scale as well (autobitlinear).
    if (parts_.find("bias") != nullptr && !inverse_)
      parts_.refuse("bias", "a bias beside a BitNet matrix is multiplied with its scale");
  }

  quant::Encoded tables() const override {
    quant::Encoded e;
    e.bits = 2;
    e.code_min = -1;
    e.group = k_;
    const Tensor scale = copy_of(*scale_);
    e.scale_dtype = inverse_ ? at::kFloat : scale.scalar_type();
    e.scales = scale.to(at::kFloat).view({1, 1});
    if (inverse_)
      e.scales = e.scales.reciprocal();
    return e;
  }

  Tensor rows(int64_t first, int64_t count) const override {
    Tensor codes = at::empty({count, k_}, at::kChar);
    auto* to = codes.mutable_data_ptr<int8_t>();
    const int64_t packed_rows = weight_->shape[0];
    bool known = true;
    for (int64_t row = first; row < first + count; ++row) {
      const auto* from = weight_->bytes.data() + (row % packed_rows) * k_;
      const auto shift = static_cast<unsigned>(row / packed_rows * 2);
      for (int64_t i = 0; i < k_; ++i) {
        const unsigned code = (std::to_integer<unsigned>(from[i]) >> shift) & 3U;
        known &= code < 3;
        *to++ = static_cast<int8_t>(static_cast<int>(code) - 1);
      }
    }
    if (!known)
      parts_.refuse("weight", "holds a code that stands for none of -1, 0 and 1");
    return codes;
  }

 private:
  bool inverse_;
  const io::TensorView* weight_ = nullptr;
  const io::TensorView* scale_ = nullptr;
};

}  // namespace

std::unique_ptr<PackedMatrix> open_bitnet_matrix(const ModuleParts& parts,
                                                 const HfQuantization& settings) {
  return std::make_unique<BitnetMatrix>(parts, settings.inverse_scale);
}

}  // namespace sterna::model
