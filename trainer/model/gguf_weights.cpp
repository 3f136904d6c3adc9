// Weights of GGUF files.
//
// Architecture llama stores the rows of Q and K for rotating neighbours: row a d + 2p + s there is
// row a d + s d/2 + p here (head a, pair p, half s), for weights and biases. The others do not.
#include "trainer/io/gguf.h"
#include "trainer/model/file_weights.h"
#include "trainer/model/names.h"

namespace sterna::model {
namespace {

// What stands behind "blk.N." and where the family has it.
constexpr std::pair<std::string_view, std::string_view FamilyNames::*> kBlockNames[] = {
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
constexpr std::pair<std::string_view, std::string_view FamilyNames::*> kOuterNames[] = {
    {"token_embd", &FamilyNames::embedding},
    {"position_embd", &FamilyNames::positions},
    {"output_norm", &FamilyNames::norm},
};

template <size_t N>
std::string found_in(const std::pair<std::string_view, std::string_view FamilyNames::*> (&table)[N],
                     const FamilyNames& names,
                     std::string_view part) {
  for (const auto& [gguf, member] : table) {
    if (part == gguf)
      return std::string(names.*member);
  }
  return {};
}

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; unknown names stay, so that
// they are reported as they are in the file.
std::string hf_name(const FamilyNames& names, const std::string& name) {
  const size_t last = name.rfind('.');
  if (last == std::string::npos)
    return name;
  const std::string kind = name.substr(last);  // ".weight"
  if (name.substr(0, last) == "output")
    return "lm_head" + kind;
  const size_t number = 4;
  const size_t dot = name.find('.', number);
  std::string before, module;
  if (name.starts_with("blk.") && dot != std::string::npos && dot < last) {
    before = std::string(names.block) + name.substr(number, dot - number) + ".";
    module = found_in(kBlockNames, names, name.substr(dot + 1, last - dot - 1));
  } else {
    module = found_in(kOuterNames, names, name.substr(0, last));
  }
  return module.empty() ? name : before + module + kind;
}

class GgufWeights final : public FileWeights {
 public:
  GgufWeights(std::unique_ptr<io::Gguf> opened, bool permuted, const DecoderConfig& config)
      : FileWeights(std::move(opened)),
        permuted_(permuted),
        head_dim_(config.head_dim),
        names_(names_of(config.family)) {
    for (const io::TensorView& view : file().tensors()) {
      if (view.name != "rope_freqs.weight")  // part of the configuration
        add(hf_name(names_, view.name), view);
    }
  }

  Tensor take(const std::string& name, at::ScalarType dtype) override {
    Tensor values = FileWeights::take(name, dtype);
    const auto is = [&](std::string_view part) {
      return name.find("." + std::string(part) + ".") != std::string::npos;
    };
    if (!permuted_ || !(is(names_.q) || is(names_.k)) || values.size(0) % head_dim_ != 0)
      return values;
    return values.view({values.size(0) / head_dim_, head_dim_ / 2, 2, -1})
        .transpose(1, 2)
        .reshape(values.sizes());
  }

 private:
  bool permuted_;
  int64_t head_dim_;
  const FamilyNames& names_;
};

}  // namespace

std::unique_ptr<WeightSource> open_gguf_weights(const std::filesystem::path& file,
                                                const DecoderConfig& config) {
  auto opened = io::open_gguf(file);
  const bool permuted = opened->text("general.architecture") == "llama";
  return std::make_unique<GgufWeights>(std::move(opened), permuted, config);
}

}  // namespace sterna::model
