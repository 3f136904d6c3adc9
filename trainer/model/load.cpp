#include "trainer/model/load.h"

#include <algorithm>
#include <set>

#include <nlohmann/json.hpp>

#include "quant/packed.h"
#include "quant/panels.h"
#include "trainer/io/json.h"
#include "trainer/model/load_parts.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

std::unique_ptr<WeightSource> open_source(const CheckpointInfo& info) {
  switch (info.kind) {
    case CheckpointKind::kHuggingFace:
      return open_hf_weights(info.path, info.config);
    case CheckpointKind::kGguf:
      return open_gguf_weights(info.path, info.config);
    case CheckpointKind::kSternaExport:
      return open_sterna_weights(info.path);
    case CheckpointKind::kRunCheckpoint:
      return open_run_weights(info);
  }
  TORCH_CHECK(false, "unknown kind of checkpoint");
}

// Up to three names, so that a wrong prefix does not print a page.
std::string some(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 3); ++i)
    text += (i == 0 ? "" : ", ") + names[i];
  return text + (names.size() > 3 ? " and " + std::to_string(names.size() - 3) + " more" : "");
}

// Names and shapes before anything is read.
void check_complete(const std::vector<Parameter>& expected, const WeightSource& source, bool tied) {
  const auto names = source.names();
  std::set<std::string> extra(names.begin(), names.end());
  std::vector<std::string> missing;
  const std::string where = source.path().string();
  for (const Parameter& p : expected) {
    if (extra.erase(p.name) == 0) {
      missing.push_back(p.name);
    } else if (source.shape(p.name) != p.shape) {
      throw io::FileError(where + ": tensor " + p.name + " has shape " +
                          shape_text(source.shape(p.name)) + ", the configuration asks for " +
                          shape_text(p.shape) + "; take config.json and weights of one model");
    }
  }
  if (tied)
    extra.erase("lm_head.weight");  // a copy of the embedding
  if (!missing.empty())
    throw io::FileError(where + ": missing " + some(missing) +
                        (missing.back() == "lm_head.weight"
                             ? "; is 'tie_word_embeddings' wrong in config.json?"
                             : "; is the file complete, and does config.json belong to it?"));
  if (!extra.empty())
    throw io::FileError(where + ": the model has no place for " +
                        some({extra.begin(), extra.end()}) +
                        "; does config.json belong to this file?");
}

/// With every tensor that the model needs, in its shape.
std::unique_ptr<WeightSource> open_weights(const CheckpointInfo& info,
                                           const std::vector<Parameter>& expected) {
  auto source = open_source(info);
  check_complete(expected, *source, info.config.tied);
  return source;
}

}  // namespace

Weights read_all(WeightSource& source, const std::vector<std::string>& names) {
  Weights weights;
  for (const std::string& name : names) {
    std::optional<quant::Encoded> codes = source.codes(name);
    weights.tensors.emplace(name, codes ? quant::decode(*codes) : source.take(name, at::kFloat));
    if (codes)
      weights.encoded.emplace(name, std::move(*codes));
    if (source.merged(name))
      weights.merged.push_back(name);
  }
  weights.activations = source.activations();
  return weights;
}

std::unique_ptr<WeightSource> open_weights(const CheckpointInfo& info) {
  return open_weights(info, Decoder(info.config, at::kFloat).parameters());
}

Weights read_weights(const CheckpointInfo& info) {
  const auto source = open_weights(info);
  std::vector<std::string> names = source->names();
  if (info.config.tied)
    std::erase(names, "lm_head.weight");
  return read_all(*source, names);
}

Decoder load_decoder(const CheckpointInfo& info, at::ScalarType compute_dtype) {
  Decoder decoder(info.config, compute_dtype);
  const std::vector<Parameter> parameters = decoder.parameters();
  const auto source = open_weights(info, parameters);
  for (const Parameter& p : parameters)
    *p.value = source->take(p.name, p.matrix ? compute_dtype : at::kFloat);
  attach_activations(decoder, source->activations(), info.path.string());
  return decoder;
}

Decoder load_packed_decoder(const CheckpointInfo& info,
                            at::ScalarType compute_dtype,
                            const quant::Plan& plan) {
  Decoder decoder(info.config, compute_dtype);
  const std::vector<Parameter> parameters = decoder.parameters();
  const auto source = open_weights(info, parameters);
  std::map<const Tensor*, quant::Linear*> linears;
  for (quant::Linear* linear : decoder.linears())
    linears[&linear->weight] = linear;
  for (const Parameter& p : parameters) {
    const auto linear = linears.find(p.value);
    const auto quantizer = linear == linears.end() ? nullptr : build_quantizer(plan, p);
    if (!quantizer) {
      *p.value = source->take(p.name, p.matrix ? compute_dtype : at::kFloat);
      continue;
    }
    const Tensor w = source->take(p.name, at::kFloat);
    quantizer->init(w);
    linear->second->weight = at::empty({0, w.size(1)}, compute_dtype);
    linear->second->adapter = std::make_shared<quant::Packed>(quantizer->encode(w));
  }
  attach_activations(decoder, source->activations(), info.path.string());
  return decoder;
}

int64_t weight_bytes(Decoder& decoder) {
  size_t bytes = 0;
  for (const Parameter& p : decoder.parameters())
    bytes += p.value->defined() ? p.value->nbytes() : 0;
  for (const quant::Linear* linear : decoder.linears())
    if (const auto* packed = dynamic_cast<const quant::Packed*>(linear->adapter.get()))
      bytes += static_cast<size_t>(packed->bytes());
    else if (const auto* panels = dynamic_cast<const quant::Panels*>(linear->adapter.get()))
      bytes += static_cast<size_t>(panels->bytes());
  return static_cast<int64_t>(bytes);
}

Tensor load_head(const CheckpointInfo& info, at::ScalarType dtype) {
  Decoder shapes(info.config, dtype);
  const std::vector<Parameter> parameters = shapes.parameters();
  const auto source = open_weights(info, parameters);
  const auto head = std::find_if(parameters.begin(), parameters.end(), [&](const Parameter& p) {
    return p.value == &shapes.head_linear().weight;
  });
  return source->take(head->name, dtype);
}

}  // namespace sterna::model
