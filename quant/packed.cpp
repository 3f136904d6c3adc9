#include "quant/packed.h"

#include "quant/pack.h"

namespace sterna::quant {

Packed::Packed(Encoded encoded)
    : encoded_(std::move(encoded)),
      packed_(pack_codes(encoded_.codes, encoded_.bits, encoded_.code_min)),
      outputs_(encoded_.codes.size(0)),
      inputs_(encoded_.codes.size(1)) {
  encoded_.codes = Tensor();
  // Scales are exact in their declared dtype: nothing is lost by keeping them so.
  encoded_.scales = encoded_.scales.to(encoded_.scale_dtype);
}

std::vector<Tensor*> Packed::tensors() {
  std::vector<Tensor*> all;
  for (Tensor* each :
       {&packed_, &encoded_.scales, &encoded_.zeros, &encoded_.levels, &encoded_.scales_below})
    if (each->defined())
      all.push_back(each);
  return all;
}

int64_t Packed::bytes() const {
  int64_t bytes = 0;
  for (const Tensor& part :
       {packed_, encoded_.scales, encoded_.zeros, encoded_.levels, encoded_.scales_below})
    bytes += part.defined() ? static_cast<int64_t>(part.nbytes()) : 0;
  return bytes;
}

Tensor Packed::decode(at::ScalarType dtype) const {
  Encoded whole = encoded_;
  whole.codes = unpack_codes(packed_, inputs_, encoded_.bits, encoded_.code_min);
  whole.scales = encoded_.scales.to(at::kFloat);
  return quant::decode(whole, dtype);
}

void Packed::attach(const std::string& name, int64_t n, int64_t k) {
  TORCH_CHECK(n == outputs_ && k == inputs_, name, ": packed as [", outputs_, ", ", inputs_, "]");
}

Tensor Packed::forward(const Tensor& x) const {
  return at::linear(x, decode(x.scalar_type()).to(x.device()));
}

}  // namespace sterna::quant
