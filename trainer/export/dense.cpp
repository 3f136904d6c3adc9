// Dense de-quantised weights as Hugging Face checkpoints have them: model.safetensors in one dtype,
// or several such files with an index.
#include <bit>
#include <cmath>

#include "quant/scale.h"
#include "trainer/export/format.h"
#include "trainer/export/tensors.h"
#include "trainer/export/weight_files.h"
#include "trainer/model/hf_quantization.h"
#include "trainer/model/names.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;

// The way round that the family's folders have it; the same turn leads back.
at::Tensor as_stored(const std::string& family, const std::string& name, const at::Tensor& w) {
  return model::stored_transposed(family, name) && w.dim() == 2 ? w.t().contiguous() : w;
}

int mantissa_bits(at::ScalarType dtype) {
  return dtype == at::kFloat ? 24 : dtype == at::kHalf ? 11 : 8;
}

/// Bits from the first to the last that is set, of a multiple of 1/2: 1 for powers of two.
int significant_bits(double level) {
  auto halves = static_cast<uint64_t>(std::llround(std::abs(level) * 2));
  return halves == 0 ? 0 : std::bit_width(halves >> std::countr_zero(halves));
}

/// Whether the levels of a scheme, times whatever scales of its type, are numbers of `dtype`.
bool values_fit(const quant::Encoded& e, at::ScalarType dtype) {
  if (dtype == at::kFloat)
    return true;
  const at::Tensor tried = quant::decode(e);
  if (!same_bits(tried.to(dtype).to(at::kFloat), tried))
    return false;
  if (e.grid == quant::Grid::kLevels)
    return true;
  const int64_t most = (int64_t{1} << e.bits) - 1;
  const double first =
      e.zeros.defined() ? static_cast<double>(-most) : static_cast<double>(e.code_min) - e.offset;
  const int64_t levels = e.zeros.defined() ? 2 * most : most;
  const int of_scale = mantissa_bits(e.scale_dtype);
  for (int64_t i = 0; i <= levels; ++i) {
    const int bits = significant_bits(first + static_cast<double>(i));
    if (of_scale + (bits > 1 ? bits : 0) > mantissa_bits(dtype))
      return false;
  }
  return true;
}

class Dense final : public Format {
 public:
  struct Config {
    std::string dtype_name = "bf16";
    std::string activations = "refuse";
    int64_t shard_mb = kShardMb;
    template <class Visitor>
    void fields(Visitor& v) {
      v("dtype", dtype_name, "how every weight is stored", recipes::OneOf{"bf16", "fp16", "fp32"});
      v("activations",
        activations,
        "where [act] rounds activations, which this layout cannot say",
        recipes::OneOf{"refuse", "drop"});
      visit_shard_mb(v, shard_mb);
    }
  };
  explicit Dense(const Config& config)
      : dtype_(quant::parse_dtype(config.dtype_name)),
        drops_(config.activations == "drop"),
        shard_mb_(config.shard_mb) {}

  std::optional<std::string> why_not(const Prospect& prospect) const override {
    for (const Prospect::Matrix& m : prospect.matrices)
      if (m.scheme && !values_fit(*m.scheme, dtype_))
        return "tensor '" + m.tensor + "': its values are rounded once more, to " + dtype() +
               "; expected export.format.dtype = \"fp32\", or a layout of codes";
    return Format::why_not(prospect);
  }

  void write(const ExportSource& source, const fs::path& folder) const override {
    WeightFiles files(folder, shard_mb_);
    for (const std::string& name : source.names()) {
      const at::Tensor values = source.take(name).values;
      files.add(name, round_to(as_stored(source.config.family, name, values), dtype_, name));
    }
    files.finish();
  }

  KeepsActivations activations() const override {
    return drops_ ? KeepsActivations::kDropped : KeepsActivations::kRefused;
  }

  std::string dtype() const override {
    return dtype_ == at::kFloat ? "float32" : dtype_ == at::kHalf ? "float16" : "bfloat16";
  }

  ReadBack read(const fs::path& folder) const override {
    const auto file = io::open_safetensors(folder);
    const std::string family = family_of(folder);
    ReadBack result;
    for (const io::TensorView& view : file->tensors()) {
      at::Tensor values = at::empty(view.shape, at::kFloat);
      io::to_float(view, {values.mutable_data_ptr<float>(), view.elements()});
      result.weights.tensors[view.name] = as_stored(family, view.name, values);
      result.storage[view.name] = io::dtype_name(view.dtype);
    }
    return result;
  }

  bool recognises(const fs::path& folder) const override {
    return has_weight_files(folder) && !model::is_hf_quant_method(model::hf_quant_method(folder));
  }

 private:
  at::ScalarType dtype_;
  bool drops_;
  int64_t shard_mb_;
};

}  // namespace

void add_dense(recipes::Registry<Format>& registry) {
  registry.add<Dense>("dense", "de-quantised weights in a Hugging Face folder");
}

}  // namespace sterna::exporter
