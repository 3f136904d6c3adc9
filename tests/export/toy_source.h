#pragma once

#include <memory>
#include <string>

#include <ATen/ATen.h>

#include "tests/io/support.h"
#include "trainer/export/export.h"

namespace sterna::tests {

inline at::Tensor heavy_tailed(at::IntArrayRef shape) {
  return at::randn(shape).pow(3);
}

/// Codes of a random matrix whose scales are rounded to `scale_dtype` and whose first row is zero.
inline quant::Encoded toy_codes(int64_t n, int64_t k, int64_t bits, at::ScalarType scale_dtype) {
  quant::Encoded e;
  e.bits = bits;
  e.code_min = -(int64_t{1} << (bits - 1));
  e.group = k / 2;
  e.scale_dtype = scale_dtype;
  e.codes = (at::randint(0, int64_t{1} << bits, {n, k}, at::kInt) + e.code_min).to(at::kChar);
  e.scales = (at::rand({n, 2}) + 0.01).to(scale_dtype).to(at::kFloat);
  e.scales[0].zero_();
  return e;
}

inline std::map<std::string, quant::Encoded> toy_encoded() {
  std::map<std::string, quant::Encoded> encoded;
  encoded["layers.0.up.weight"] = toy_codes(12, 40, 3, at::kBFloat16);
  encoded["layers.0.seq.weight"] = toy_codes(4, 8, 2, at::kHalf);
  encoded["layers.0.seq.weight"].offset = -0.5;
  quant::Encoded zeros = toy_codes(6, 20, 2, at::kFloat);
  zeros.zeros = at::randint(-2, 2, {6, 2}, at::kInt).to(at::kFloat);
  encoded["layers.0.asym.weight"] = zeros;
  zeros.zeros = at::randn({6, 2});
  encoded["layers.0.float_zero.weight"] = zeros;
  quant::Encoded levels = toy_codes(5, 6, 4, at::kBFloat16);
  levels.grid = quant::Grid::kLevels;
  levels.levels = std::get<0>(at::randn({16}).sort());
  encoded["layers.0.levels.weight"] = levels;
  quant::Encoded tables = toy_codes(4, 12, 3, at::kHalf);
  tables.grid = quant::Grid::kLevels;
  tables.code_min = 0;
  tables.codes = (tables.codes + 4).to(at::kChar);
  tables.levels = std::get<0>(at::randn({5, 8}).sort());
  tables.zeros = at::randint(0, 5, {4, 2}, at::kInt).to(at::kFloat);
  tables.scales_below = (at::rand({4, 2}) + 0.01).to(at::kHalf).to(at::kFloat);
  encoded["layers.0.tables.weight"] = tables;
  quant::Encoded one = toy_codes(3, 10, 8, at::kBFloat16);
  one.group = 10;
  one.scales = at::full({1, 1}, 0.5);
  encoded["layers.0.one_scale.weight"] = one;
  return encoded;
}

/// A student of no use but with every kind of tensor: codes affine and by levels, with and without
/// zero points, Q8_0 values, bf16 values, a norm in fp32, an odd matrix that must be rounded.
inline exporter::ExportSource toy_source(const std::filesystem::path& tokenizer) {
  at::manual_seed(11);
  exporter::ExportSource source;
  auto& tensors = source.weights.tensors;
  source.weights.encoded = toy_encoded();
  for (const auto& [name, e] : source.weights.encoded)
    tensors[name] = quant::decode(e);
  const at::Tensor d = at::rand({7, 2, 1}).to(at::kHalf).to(at::kFloat);
  at::Tensor q = at::randint(-127, 128, {7, 2, 32}, at::kInt).to(at::kFloat);
  q.select(2, 5).fill_(127);
  tensors["embed_tokens.weight"] = (q * d).reshape({7, 64}).contiguous();
  tensors["layers.0.exact.weight"] = heavy_tailed({3, 5}).to(at::kBFloat16).to(at::kFloat);
  tensors["layers.0.odd.weight"] = heavy_tailed({3, 5});
  tensors["norm.weight"] = heavy_tailed({9});
  tensors["lm_head.weight"] = tensors["embed_tokens.weight"];
  source.config.family = "llama";
  source.config.tied = true;
  source.config.vocab = 7;
  source.config.eos = {1, 2};
  source.config.bos = 0;
  source.tokenizer_path = tokenizer;
  source.origin = {{"kind", "run"}, {"checkpoint", "step-4"}};
  return source;
}

/// A folder with a config and a tokenizer, as a Hugging Face checkpoint has them.
inline void make_side_files(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  write_file(folder / "config.json",
             R"({"model_type":"llama","torch_dtype":"float32","custom":[1,2],)"
             R"("quantization_config":{}})");
  write_file(folder / "tokenizer.json", R"({"version":"1.0"})");
  write_file(folder / "tokenizer_config.json", R"({"chat_template":"x"})");
}

inline std::unique_ptr<exporter::Format> make_format(const std::string& name,
                                                     const std::string& dtype = "bf16") {
  recipes::Recipe recipe;
  recipe.set("export.format=" + name);
  recipe.set("export.format.dtype=" + dtype);
  return exporter::formats().build(recipe.section("export"), "format");
}

}  // namespace sterna::tests
