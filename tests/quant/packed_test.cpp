#include "quant/packed.h"

#include <gtest/gtest.h>

#include "quant/act_quantizer.h"
#include "quant/linear.h"
#include "quant/quantizer.h"

namespace sterna::quant {
namespace {

Tensor weight() {
  at::manual_seed(2);
  return at::randn({12, 128}).pow(3) * 0.1;
}

TEST(Packed, DecodesEverySchemeToTheBitInItsOwnBits) {
  const Tensor w = weight();
  for (const std::string& name : quantizers().names()) {
    const auto quantizer = quantizers().make_default(name);
    quantizer->init(w);
    const Encoded encoded = quantizer->encode(w);
    const Packed packed(encoded);
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16})
      EXPECT_TRUE(at::equal(packed.decode(dtype), decode(encoded, dtype))) << name;
    int64_t bytes = 12 * ((128 * encoded.bits + 7) / 8);
    bytes += encoded.scales.numel() * (encoded.scale_dtype == at::kFloat ? 4 : 2);
    for (const Tensor& more : {encoded.zeros, encoded.levels, encoded.scales_below})
      bytes += more.defined() ? 4 * more.numel() : 0;
    EXPECT_EQ(packed.bytes(), bytes) << name;
  }
}

TEST(Packed, LinearMultipliesWithWhatItDecodes) {
  const Tensor w = weight();
  const auto quantizer = quantizers().make_default("minmax_sym");
  quantizer->init(w);
  const Encoded encoded = quantizer->encode(w);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    Linear plain;
    plain.weight = decode(encoded, dtype);
    Linear packed = plain;
    packed.weight = at::empty({0, 128}, dtype);
    packed.adapter = std::make_shared<Packed>(encoded);
    const Tensor x = at::randn({2, 5, 128}).to(dtype);
    EXPECT_TRUE(at::equal(packed.forward(x), plain.forward(x)));
    packed.bias = at::randn({12});
    EXPECT_TRUE(at::equal(packed.forward(x), plain.forward(x) + packed.bias.to(dtype)));
    packed.act = plain.act = act_quantizers().make_default("per_token");
    EXPECT_TRUE(at::equal(packed.forward(x), plain.forward(x) + packed.bias.to(dtype)))
        << "its inputs are rounded too";
    packed.grad = at::zeros({12, 128});
    EXPECT_THROW(packed.forward(x), c10::Error);
  }
}

}  // namespace
}  // namespace sterna::quant
