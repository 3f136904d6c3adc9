#pragma once

#include <memory>
#include <string>

#include <ATen/ATen.h>

#include "quant/quantizer.h"
#include "recipes/recipe.h"

namespace sterna::quant {

/// Scales as they are, not rounded to a storage dtype.
inline const std::string kExact = "scale_dtype = \"fp32\"";

/// make("twn", "group = 16, threshold = 0.5"): the fields as a recipe writes them.
inline std::unique_ptr<Quantizer> make(const std::string& name, const std::string& fields = "") {
  auto recipe = recipes::Recipe::parse("[quant]\nweight = { name = \"" + name + "\"" +
                                           (fields.empty() ? "" : ", " + fields) + " }\n",
                                       "test");
  return quantizers().build(recipe.section("quant"), "weight");
}

/// Heavy-tailed, as trained weights are; the same for the same seed.
inline Tensor heavy(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed)).pow(3);
}

inline Tensor normal(at::IntArrayRef shape, uint64_t seed) {
  return at::randn(shape, at::make_generator<at::CPUGeneratorImpl>(seed));
}

inline double largest(const Tensor& t) {
  return t.numel() == 0 ? 0.0 : t.abs().max().item<double>();
}

/// Largest difference, relative to the largest magnitude of `expected`.
inline double error(const Tensor& found, const Tensor& expected) {
  return largest(found - expected) / std::max(largest(expected), 1e-30);
}

/// The quantizer after init(w), and what it makes of w.
inline Tensor fake_quant(Quantizer& quantizer, const Tensor& w) {
  quantizer.init(w);
  return decode(quantizer.encode(w));
}

}  // namespace sterna::quant
