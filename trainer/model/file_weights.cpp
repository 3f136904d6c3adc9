// Weights of safetensors and GGUF files.
//
// GGUF of architecture llama stores the rows of Q and K for rotating neighbours: row a d + 2p + s
// there is row a d + s d/2 + p here (head a, pair p, half s), for weights and biases.
#include <map>

#include "trainer/io/gguf.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {
namespace {

namespace fs = std::filesystem;

bool holds_weights(io::Dtype dtype) {
  switch (dtype) {
    case io::Dtype::kBool:
    case io::Dtype::kU8:
    case io::Dtype::kI8:
    case io::Dtype::kI16:
    case io::Dtype::kU16:
    case io::Dtype::kI32:
    case io::Dtype::kU32:
    case io::Dtype::kI64:
    case io::Dtype::kU64:
      return false;
    default:
      return true;  // what is not read at all, to_float refuses
  }
}

Tensor to_tensor(const io::TensorView& view, const fs::path& path) {
  const auto refuse = [&](const std::string& why) {
    throw io::FileError(path.string() + ": tensor '" + view.name + "': " + why);
  };
  if (!holds_weights(view.dtype))
    refuse("expected floating-point weights, found " + std::string(io::dtype_name(view.dtype)) +
           "; codes of another program's quantizer cannot be read as weights");
  const Tensor values = at::empty(view.shape, at::kFloat);
  io::to_float(view, {values.data_ptr<float>(), static_cast<size_t>(values.numel())});
  if (!at::isfinite(values).all().item<bool>())
    refuse("holds NaN or Inf; the checkpoint is damaged or its training diverged");
  return values;
}

bool ends_with(const std::string& text, std::string_view end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Tensors of one opened file, by the name the model gives them.
class FileWeights : public WeightSource {
 public:
  explicit FileWeights(std::unique_ptr<io::TensorFile> file) : file_(std::move(file)) {}

  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, view] : views_)
      all.push_back(name);
    return all;
  }
  std::vector<int64_t> shape(const std::string& name) const override {
    return views_.at(name)->shape;
  }
  Tensor take(const std::string& name) override { return to_tensor(*views_.at(name), path()); }
  fs::path path() const override { return file_->path(); }

 protected:
  void add(const std::string& name, const io::TensorView& view) {
    if (!views_.emplace(name, &view).second) {
      throw io::FileError(file_->path().string() + ": two tensors stand for " + name + ", one is " +
                          view.name);
    }
  }
  const io::TensorFile& file() const { return *file_; }

 private:
  std::unique_ptr<io::TensorFile> file_;
  std::map<std::string, const io::TensorView*> views_;
};

class HfWeights final : public FileWeights {
 public:
  explicit HfWeights(const fs::path& folder) : FileWeights(io::open_safetensors(folder)) {
    for (const io::TensorView& view : file().tensors()) {
      if (ends_with(view.name, "rotary_emb.inv_freq"))
        continue;  // old files store what the configuration says anyway
      const bool full = view.name.rfind("model.", 0) == 0 || view.name.rfind("lm_head.", 0) == 0;
      add(full ? view.name : "model." + view.name, view);
    }
  }
};

// What stands behind "blk.N." and behind "model.layers.N.".
constexpr std::pair<std::string_view, std::string_view> kBlockNames[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"ffn_norm", "post_attention_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
};

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; unknown names stay, so that
// they are reported as they are in the file.
std::string hf_name(const std::string& name) {
  if (name == "token_embd.weight")
    return "model.embed_tokens.weight";
  if (name == "output_norm.weight")
    return "model.norm.weight";
  if (name == "output.weight")
    return "lm_head.weight";
  const size_t number = 4;
  const size_t dot = name.find('.', number);
  const size_t last = name.rfind('.');
  if (name.rfind("blk.", 0) != 0 || dot == std::string::npos || last <= dot)
    return name;
  const std::string part = name.substr(dot + 1, last - dot - 1);
  for (const auto& [gguf, hf] : kBlockNames) {
    if (part == gguf)
      return "model.layers." + name.substr(number, dot - number) + "." + std::string(hf) +
             name.substr(last);
  }
  return name;
}

class GgufWeights final : public FileWeights {
 public:
  GgufWeights(const fs::path& path, int64_t head_dim)
      : FileWeights(io::open_gguf(path)), head_dim_(head_dim) {
    for (const io::TensorView& view : file().tensors()) {
      if (view.name != "rope_freqs.weight")  // part of the configuration
        add(hf_name(view.name), view);
    }
  }

  Tensor take(const std::string& name) override {
    Tensor values = FileWeights::take(name);
    const bool turned = name.find(".self_attn.q_proj.") != std::string::npos ||
                        name.find(".self_attn.k_proj.") != std::string::npos;
    if (!turned || values.size(0) % head_dim_ != 0)
      return values;
    return values.view({values.size(0) / head_dim_, head_dim_ / 2, 2, -1})
        .transpose(1, 2)
        .reshape(values.sizes());
  }

 private:
  int64_t head_dim_;
};

class HeldWeights final : public WeightSource {
 public:
  HeldWeights(Weights weights, fs::path path)
      : tensors_(std::move(weights.tensors)), path_(std::move(path)) {}

  std::vector<std::string> names() const override {
    std::vector<std::string> all;
    for (const auto& [name, tensor] : tensors_)
      all.push_back(name);
    return all;
  }
  std::vector<int64_t> shape(const std::string& name) const override {
    return tensors_.at(name).sizes().vec();
  }
  Tensor take(const std::string& name) override { return tensors_.extract(name).mapped(); }
  fs::path path() const override { return path_; }

 private:
  std::map<std::string, Tensor> tensors_;
  fs::path path_;
};

}  // namespace

std::unique_ptr<WeightSource> open_hf_weights(const fs::path& folder) {
  return std::make_unique<HfWeights>(folder);
}

std::unique_ptr<WeightSource> open_gguf_weights(const fs::path& file, const DecoderConfig& config) {
  return std::make_unique<GgufWeights>(file, config.head_dim);
}

std::unique_ptr<WeightSource> hold_weights(Weights weights, const fs::path& path) {
  return std::make_unique<HeldWeights>(std::move(weights), path);
}

}  // namespace sterna::model
