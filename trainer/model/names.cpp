#include "trainer/model/names.h"

#include <c10/util/Exception.h>

namespace sterna::model {
namespace {

FamilyNames llama() {
  FamilyNames n;
  n.prefix = "model.";
  n.embedding = "model.embed_tokens";
  n.norm = "model.norm";
  n.block = "model.layers.";
  n.attention_norm = "input_layernorm";
  n.q = "self_attn.q_proj";
  n.k = "self_attn.k_proj";
  n.v = "self_attn.v_proj";
  n.q_norm = "self_attn.q_norm";
  n.k_norm = "self_attn.k_norm";
  n.o = "self_attn.o_proj";
  n.mlp_norm = "post_attention_layernorm";
  n.gate = "mlp.gate_proj";
  n.up = "mlp.up_proj";
  n.down = "mlp.down_proj";
  n.buffers = {"rotary_emb.inv_freq"};
  return n;
}

FamilyNames opt() {
  FamilyNames n;
  n.prefix = "model.";
  n.embedding = "model.decoder.embed_tokens";
  n.positions = "model.decoder.embed_positions";
  n.project_in = "model.decoder.project_in";
  n.project_out = "model.decoder.project_out";
  n.norm = "model.decoder.final_layer_norm";
  n.block = "model.decoder.layers.";
  n.attention_norm = "self_attn_layer_norm";
  n.q = "self_attn.q_proj";
  n.k = "self_attn.k_proj";
  n.v = "self_attn.v_proj";
  n.o = "self_attn.out_proj";
  n.mlp_norm = "final_layer_norm";
  n.up = "fc1";
  n.down = "fc2";
  return n;
}

FamilyNames gpt2() {
  FamilyNames n;
  n.prefix = "transformer.";
  n.embedding = "transformer.wte";
  n.positions = "transformer.wpe";
  n.norm = "transformer.ln_f";
  n.block = "transformer.h.";
  n.attention_norm = "ln_1";
  n.qkv = "attn.c_attn";
  n.o = "attn.c_proj";
  n.mlp_norm = "ln_2";
  n.up = "mlp.c_fc";
  n.down = "mlp.c_proj";
  n.conv1d = true;
  n.buffers = {".attn.bias", ".attn.masked_bias"};
  return n;
}

}  // namespace

const FamilyNames& names_of(const std::string& family) {
  TORCH_CHECK(is_family(family), "no decoder family '", family, "'");
  static const FamilyNames kLlama = llama();
  static const FamilyNames kOpt = opt();
  static const FamilyNames kGpt2 = gpt2();
  if (family == "opt")
    return kOpt;
  if (family == "gpt2")
    return kGpt2;
  return kLlama;
}

bool stored_transposed(const std::string& family, const std::string& name) {
  const FamilyNames& names = names_of(family);
  if (!names.conv1d || !name.starts_with(names.block) || !name.ends_with(".weight"))
    return false;
  for (const std::string_view part : {names.qkv, names.o, names.up, names.down}) {
    if (name.ends_with("." + std::string(part) + ".weight"))
      return true;
  }
  return false;
}

std::string block_path(const FamilyNames& names, int64_t layer) {
  return std::string(names.block) + std::to_string(layer) + ".";
}

}  // namespace sterna::model
