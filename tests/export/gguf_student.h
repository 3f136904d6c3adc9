#pragma once

#include "quant/quantizer.h"
#include "trainer/export/source.h"

namespace sterna::tests {

/// Codes of `w` by a quantizer as a recipe's quant.weight says it.
inline quant::Encoded encoded_by(const std::string& scheme, const at::Tensor& w) {
  recipes::Recipe recipe = recipes::Recipe::parse("[quant]\nweight = " + scheme + "\n", "recipe");
  const auto quantizer = quant::quantizers().build(recipe.section("quant"), "weight");
  quantizer->init(w);
  return quantizer->encode(w);
}

/// A checkpoint with codes in the matrices of its blocks, as training leaves them.
inline exporter::ExportSource quantized_student(const std::filesystem::path& checkpoint,
                                                const std::string& scheme) {
  exporter::ExportSource source = exporter::read_source(model::inspect(checkpoint));
  model::Decoder shapes(source.config, at::kFloat);
  for (const quant::Linear* linear : shapes.linears()) {
    const std::string name = linear->name + ".weight";
    at::Tensor& values = source.weights.tensors.at(name);
    source.weights.encoded[name] = encoded_by(scheme, values);
    values = quant::decode(source.weights.encoded[name]);
  }
  return source;
}

/// What evaluates it.
inline model::Decoder decoder_of(const exporter::ExportSource& source) {
  model::Decoder decoder(source.config, at::kFloat);
  for (const model::Parameter& p : decoder.parameters())
    *p.value = source.weights.tensors.at(p.name);
  return decoder;
}

/// @param ids  int64 [B, T]
/// @return     fp32 [B, T, V]
inline at::Tensor logits_of(const model::Decoder& decoder, const at::Tensor& ids) {
  const at::NoGradGuard no_grad;
  const auto cache = kvcache::make_stateless(decoder.attention());
  return decoder.head(decoder.hidden(ids, at::arange(ids.size(1)), *cache));
}

}  // namespace sterna::tests
