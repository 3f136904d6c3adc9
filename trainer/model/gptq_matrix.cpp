// A matrix of a GPTQ file: inputs packed down the rows, zero points along them;
// W[o, i] = scales[g, o] * (q[i, o] - zero[g, o]).
#include <cstring>

#include "trainer/model/packed_matrix.h"
#include "trainer/model/view_copy.h"

namespace sterna::model {
namespace {

class GptqMatrix final : public PackedMatrix {
 public:
  GptqMatrix(const ModuleParts& parts, const HfQuantization& settings)
      : PackedMatrix(parts),
        scheme_(settings.scheme_of(parts.module())),
        less_one_(settings.zeros_less_one) {
    const io::Dtype words = io::Dtype::kI32;
    qweight_ = &parts_.need("qweight", {words}, {-1, -1});
    if (qweight_->shape[0] > INT32_MAX / 32 || qweight_->shape[0] * 32 % scheme_.bits != 0)
      parts_.refuse("qweight", "its words are no whole number of inputs");
    k_ = qweight_->shape[0] * 32 / scheme_.bits;
    n_ = qweight_->shape[1];
    group_ = scheme_.group == 0 ? k_ : scheme_.group;
    if (n_ < 1 || k_ < 1 || k_ % group_ != 0 || n_ * scheme_.bits % 32 != 0)
      parts_.refuse("qweight",
                    "a matrix of " + std::to_string(n_) + " outputs and " + std::to_string(k_) +
                        " inputs has no whole groups of " + std::to_string(group_));
    zeros_ = &parts_.need("qzeros", {words}, {k_ / group_, n_ * scheme_.bits / 32});
    scales_ = &parts_.need(
        "scales", {io::Dtype::kF16, io::Dtype::kBF16, io::Dtype::kF32}, {k_ / group_, n_});
    require_order();
  }

  quant::Encoded tables() const override {
    quant::Encoded e;
    e.bits = scheme_.bits;
    e.code_min = smallest_code(e.bits, scheme_.symmetric);
    e.group = group_;
    const Tensor scales = copy_of(*scales_);
    e.scale_dtype = scales.scalar_type();
    e.scales = scales.to(at::kFloat).t().contiguous();
    Tensor zeros = unpack_words(copy_of(*zeros_), n_, e.bits, smallest_code(e.bits, false))
                       .to(at::kFloat)
                       .add(less_one_ ? 1 : 0);
    if (scheme_.symmetric)
      require_middle(zeros.sub(static_cast<double>(smallest_code(e.bits, false))));
    else
      e.zeros = zeros.t().contiguous();
    return e;
  }

  Tensor rows(int64_t first, int64_t count) const override {
    const int64_t words = qweight_->shape[0];
    Tensor columns = at::empty({words, count}, at::kInt);
    auto* to = columns.mutable_data_ptr<int32_t>();
    for (int64_t w = 0; w < words; ++w)
      std::memcpy(to + w * count,
                  qweight_->bytes.data() + (w * n_ + first) * 4,
                  static_cast<size_t>(count) * 4);
    return unpack_words(
        columns.t(), k_, scheme_.bits, smallest_code(scheme_.bits, scheme_.symmetric));
  }

 private:
  /// Inputs may not be sorted by importance.
  void require_order() const {
    if (parts_.find("g_idx") == nullptr)
      return;
    const Tensor order = copy_of(parts_.need("g_idx", {io::Dtype::kI32}, {k_}));
    if (!at::equal(order.to(at::kLong), at::arange(k_, at::kLong).floor_divide(group_)))
      parts_.refuse("g_idx", "inputs in another order (desc_act) are not read");
  }

  void require_middle(const Tensor& zeros) const {
    const auto middle = static_cast<double>(int64_t{1} << (scheme_.bits - 1));
    if (!zeros.eq(middle).all().item<bool>())
      parts_.refuse("qzeros",
                    "expected the zero point " + std::to_string(int64_t{1} << (scheme_.bits - 1)) +
                        " everywhere, since \"sym\" says so, found " +
                        std::to_string(zeros.flatten()[0].item<int64_t>()) +
                        " first; is \"checkpoint_format\" wrong (v1 stores it less one)?");
  }

  HfQuantization::Scheme scheme_;
  bool less_one_;
  int64_t group_ = 0;
  const io::TensorView* qweight_ = nullptr;
  const io::TensorView* zeros_ = nullptr;
  const io::TensorView* scales_ = nullptr;
};

}  // namespace

std::unique_ptr<PackedMatrix> open_gptq_matrix(const ModuleParts& parts,
                                               const HfQuantization& settings) {
  return std::make_unique<GptqMatrix>(parts, settings);
}

}  // namespace sterna::model
