#include "trainer/model/gguf_names.h"

#include "trainer/model/names.h"

namespace sterna::model {
namespace {

using NamePair = std::pair<std::string_view, std::string_view FamilyNames::*>;

// What stands behind "blk.N." and where the family has it.
constexpr NamePair kBlockNames[] = {
    {"attn_norm", &FamilyNames::attention_norm},
    {"attn_q", &FamilyNames::q},
    {"attn_k", &FamilyNames::k},
    {"attn_v", &FamilyNames::v},
    {"attn_qkv", &FamilyNames::qkv},
    {"attn_q_norm", &FamilyNames::q_norm},
    {"attn_k_norm", &FamilyNames::k_norm},
    {"attn_output", &FamilyNames::o},
    {"ffn_norm", &FamilyNames::mlp_norm},
    {"ffn_gate", &FamilyNames::gate},
    {"ffn_up", &FamilyNames::up},
    {"ffn_down", &FamilyNames::down},
};
constexpr NamePair kOuterNames[] = {
    {"token_embd", &FamilyNames::embedding},
    {"position_embd", &FamilyNames::positions},
    {"output_norm", &FamilyNames::norm},
};
constexpr std::string_view kBlockPrefix = "blk.";

template <size_t N>
std::string found_in(const NamePair (&table)[N], const FamilyNames& names, std::string_view part) {
  for (const auto& [gguf, member] : table) {
    if (part == gguf)
      return std::string(names.*member);
  }
  return {};
}

template <size_t N>
std::string found_back(const NamePair (&table)[N],
                       const FamilyNames& names,
                       std::string_view module) {
  for (const auto& [gguf, member] : table) {
    if (!module.empty() && module == names.*member)
      return std::string(gguf);
  }
  return {};
}

}  // namespace

GgufNames::GgufNames(const DecoderConfig& config)
    : family_(config.family), head_dim_(config.head_dim) {
  const std::string& family = config.family;
  if (family == "llama" || family == "mistral")
    architecture_ = "llama";
  else if (family == "qwen2" || family == "qwen3" || family == "gpt2")
    architecture_ = family;
}

std::string GgufNames::to_hf(const std::string& name) const {
  const FamilyNames& names = names_of(family_);
  const size_t last = name.rfind('.');
  if (last == std::string::npos)
    return name;
  const std::string kind = name.substr(last);  // ".weight"
  if (name.substr(0, last) == "output")
    return "lm_head" + kind;
  const size_t dot = name.find('.', kBlockPrefix.size());
  std::string before, module;
  if (name.starts_with(kBlockPrefix) && dot != std::string::npos && dot < last) {
    before = std::string(names.block) +
             name.substr(kBlockPrefix.size(), dot - kBlockPrefix.size()) + ".";
    module = found_in(kBlockNames, names, name.substr(dot + 1, last - dot - 1));
  } else {
    module = found_in(kOuterNames, names, name.substr(0, last));
  }
  return module.empty() ? name : before + module + kind;
}

std::string GgufNames::to_gguf(const std::string& name) const {
  const FamilyNames& names = names_of(family_);
  const size_t last = name.rfind('.');
  if (last == std::string::npos)
    return {};
  const std::string kind = name.substr(last);
  const std::string module = name.substr(0, last);
  if (module == "lm_head")
    return "output" + kind;
  std::string found;
  if (module.starts_with(names.block)) {
    const size_t dot = module.find('.', names.block.size());
    if (dot == std::string::npos)
      return {};
    found = found_back(kBlockNames, names, module.substr(dot + 1));
    if (!found.empty())
      found = std::string(kBlockPrefix) +
              module.substr(names.block.size(), dot + 1 - names.block.size()) + found;
  } else {
    found = found_back(kOuterNames, names, module);
  }
  return found.empty() ? found : found + kind;
}

bool GgufNames::permuted(const std::string& name, const at::Tensor& rows) const {
  const FamilyNames& names = names_of(family_);
  const auto is = [&](std::string_view part) {
    return name.find("." + std::string(part) + ".") != std::string::npos;
  };
  return architecture_ == "llama" && (is(names.q) || is(names.k)) && rows.size(0) > 1 &&
         rows.size(0) % head_dim_ == 0;
}

at::Tensor GgufNames::rows_to_hf(const std::string& name, const at::Tensor& rows) const {
  if (!permuted(name, rows))
    return rows;
  return rows.view({rows.size(0) / head_dim_, head_dim_ / 2, 2, -1})
      .transpose(1, 2)
      .reshape(rows.sizes());
}

at::Tensor GgufNames::rows_to_gguf(const std::string& name, const at::Tensor& rows) const {
  if (!permuted(name, rows))
    return rows;
  return rows.contiguous()
      .view({rows.size(0) / head_dim_, 2, head_dim_ / 2, -1})
      .transpose(1, 2)
      .reshape(rows.sizes());
}

}  // namespace sterna::model
