#pragma once

#include <fstream>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "quant/quantizer.h"
#include "tests/quant/quantizer_support.h"
#include "tests/support/data.h"
#include "trainer/io/safetensors.h"

namespace sterna::quant {

constexpr double kCaseTolerance = 1e-5;
inline const std::string kExactAnd = kExact + ", ";

/// The tensors of one case, and its parameters.
struct Case {
  std::string name;
  nlohmann::json params;
  nlohmann::json noise;  // by tensor: fp32 less fp64 of the official code
  std::map<std::string, Tensor> tensors;

  const Tensor& at(const std::string& tensor) const { return tensors.at(tensor); }
  bool has(const std::string& tensor) const { return tensors.count(tensor) > 0; }
  bool starts_with(const std::string& prefix) const { return name.rfind(prefix, 0) == 0; }
  std::string bits() const { return "bits = " + std::to_string(params.at("bits").get<int>()); }
};

inline Tensor to_tensor(const io::TensorView& view) {
  std::vector<float> values(view.elements());
  io::to_float(view, values);
  return at::tensor(values).view(view.shape);
}

inline std::vector<Case> cases_of(const std::string& file) {
  const auto folder = tests::data_dir() / "qat_cases";
  std::ifstream in(folder / "cases.json");
  const auto all = nlohmann::json::parse(in).at("files").at(file);
  const auto tensors = io::open_safetensors(folder / (file + ".safetensors"));
  std::vector<Case> result;
  for (const auto& [name, entry] : all.items()) {
    Case c{name, entry.at("params"), entry.value("noise", nlohmann::json()), {}};
    for (const auto& [tensor, shape] : entry.at("tensors").items()) {
      (void)shape;
      c.tensors[tensor] = to_tensor(tensors->at(name + "/" + tensor));
    }
    result.push_back(std::move(c));
  }
  return result;
}

/// To 1e-5 of the largest magnitude, or to ten times what the official code itself rounds off.
inline void expect_near(const Tensor& found,
                        const Tensor& expected,
                        const Case& c,
                        const std::string& what) {
  Tensor difference = (found.reshape(-1) - expected.reshape(-1)).abs();
  if (c.has("fragile") && c.at("fragile").numel() == difference.numel())
    difference = difference * (c.at("fragile").reshape(-1) == 0);
  const double noise = c.noise.is_object() ? c.noise.value(what, 0.0) : 0.0;
  EXPECT_LE(largest(difference), std::max(kCaseTolerance * largest(expected), 10 * noise))
      << c.name << ": " << what;
}

/// The case's input as a matrix whose rows have a scale each where the case's scope says so.
inline Tensor matrix_of(const Case& c) {
  const Tensor& given = c.at("w");
  // One scale per [batch, head] plane: a plane becomes a row.
  const int64_t rows = c.params.at("scope") == "batch_head" ? given.size(0) * given.size(1)
                                                            : given.numel() / given.size(-1);
  return given.reshape({rows, -1}).contiguous();
}

/// The scope "tensor" or "row" as `group`.
inline std::string group_of(const Case& c) {
  return std::string("group = ") + (c.params.at("granularity") == "tensor" ? "-1" : "0");
}

/// Puts the case's tensor into what the quantizer learns.
inline void give(Quantizer& quantizer, size_t parameter, const Tensor& value) {
  Tensor target = quantizer.parameters().at(parameter).tensor;
  target.copy_(value.reshape(target.sizes()));
}

inline void expect_values_and_dw(const Quantizer& quantizer, const Case& c, const Tensor& w) {
  expect_near(decode(quantizer.encode(w)), c.at("wq"), c, "wq");
  const Tensor g = c.at("g").reshape(w.sizes()).contiguous();
  const Gradients back = quantizer.backward(w, g);
  expect_near(back.w, c.at("dw"), c, "dw");
}

}  // namespace sterna::quant
