#include "trainer/export/gguf_metadata.h"

#include <algorithm>

#include "kvcache/rope.h"
#include "recipes/user_error.h"
#include "trainer/model/gguf_names.h"

namespace sterna::exporter {

namespace {

uint32_t u32_of(int64_t value) {
  TORCH_CHECK(value >= 0 && value <= UINT32_MAX, "GGUF: ", value, " is no u32");
  return static_cast<uint32_t>(value);
}

/// What RoPE's frequencies are divided by; empty where nothing is.
std::vector<float> divisors_of(const kvcache::RopeConfig& rope) {
  if (!rope.divisors.empty())
    return {rope.divisors.begin(), rope.divisors.end()};
  if (rope.type != "llama3")
    return {};
  kvcache::RopeConfig plain = rope;
  plain.type = "default";
  const at::Tensor divisors =
      (kvcache::Rope(plain).inverse_frequencies() / kvcache::Rope(rope).inverse_frequencies())
          .contiguous();
  const auto* values = divisors.const_data_ptr<float>();
  return {values, values + divisors.numel()};
}

void write_rope(const model::DecoderConfig& c, const std::string& prefix, io::GgufStream& out) {
  out.u32(prefix + "attention.key_length", u32_of(c.head_dim));
  out.u32(prefix + "attention.value_length", u32_of(c.head_dim));
  out.u32(prefix + "rope.dimension_count", u32_of(c.head_dim));
  out.f32(prefix + "rope.freq_base", static_cast<float>(c.rope.theta));
  if (c.rope.type == "linear") {
    out.text(prefix + "rope.scaling.type", "linear");
    out.f32(prefix + "rope.scaling.factor", static_cast<float>(c.rope.factor));
  }
  if (!c.windows.empty() && c.windows.front() > 0)
    out.u32(prefix + "attention.sliding_window", u32_of(c.windows.front()));
  const std::vector<float> divisors = divisors_of(c.rope);
  if (!divisors.empty())
    out.add("rope_freqs.weight",
            io::Dtype::kF32,
            {static_cast<int64_t>(divisors.size())},
            std::as_bytes(std::span(divisors)));
}

}  // namespace

std::string why_no_gguf(const model::DecoderConfig& c) {
  if (model::GgufNames(c).architecture().empty())
    return "llama.cpp has no architecture for the family '" + c.family + "'";
  if (!c.learned_positions && c.rope.type != "default" && c.rope.type != "linear" &&
      c.rope.type != "llama3")
    return "RoPE scaling of the type '" + c.rope.type +
           "' is not written to GGUF; default, linear and llama3 are";
  const auto differs = [&](int64_t window) { return window != c.windows.front(); };
  if (std::any_of(c.windows.begin(), c.windows.end(), differs))
    return "its layers have different attention windows, and GGUF has one for all";
  return {};
}

void write_gguf_config(const ExportSource& source, io::GgufStream& out) {
  const model::DecoderConfig& c = source.config;
  if (const std::string why = why_no_gguf(c); !why.empty())
    throw recipes::UserError("format gguf: " + why + "; export it as \"dense\" or \"sterna\"");
  const std::string architecture = model::GgufNames(c).architecture();
  const std::string prefix = architecture + ".";
  out.text("general.architecture", architecture);
  out.text("general.type", "model");
  const auto name = source.origin.find("checkpoint");
  out.text("general.name", name == source.origin.end() ? "sterna" : name->second);
  out.u32("general.quantization_version", 2);
  out.u32(prefix + "block_count", u32_of(c.layers));
  out.u32(prefix + "context_length", u32_of(c.max_positions));
  out.u32(prefix + "embedding_length", u32_of(c.width));
  out.u32(prefix + "feed_forward_length", u32_of(c.inner));
  out.u32(prefix + "vocab_size", u32_of(c.vocab));
  out.u32(prefix + "attention.head_count", u32_of(c.heads));
  out.u32(prefix + "attention.head_count_kv", u32_of(c.kv_heads));
  const bool layer_norm = c.norm == model::NormKind::kLayer;
  out.f32(prefix + "attention." + (layer_norm ? "layer_norm_epsilon" : "layer_norm_rms_epsilon"),
          static_cast<float>(c.norm_eps));
  if (!c.learned_positions)
    write_rope(c, prefix, out);
}

}  // namespace sterna::exporter
