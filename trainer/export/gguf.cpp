// Layout "gguf": one file that llama.cpp opens, model.gguf, with configuration and tokenizer
// inside. Codes go into the blocks that hold their grid exactly (gguf_blocks.h); what is not
// quantized is Q8_0 where it came from such blocks, else F16 or BF16.
#include "trainer/io/gguf.h"

#include <algorithm>
#include <cctype>
#include <map>

#include "quant/scale.h"
#include "recipes/user_error.h"
#include "trainer/export/format.h"
#include "trainer/export/gguf_blocks.h"
#include "trainer/export/gguf_metadata.h"
#include "trainer/export/tensors.h"
#include "trainer/model/gguf_names.h"
#include "trainer/model/names.h"

namespace sterna::exporter {

namespace {

namespace fs = std::filesystem;
using io::Dtype;

constexpr const char* kGgufFile = "model.gguf";

// general.file_type by what most weights are stored as.
uint32_t file_type(const std::map<Dtype, int64_t>& weights) {
  static const std::map<Dtype, uint32_t> types = {{Dtype::kF32, 0},
                                                  {Dtype::kF16, 1},
                                                  {Dtype::kQ4_0, 2},
                                                  {Dtype::kQ8_0, 7},
                                                  {Dtype::kQ5_0, 8},
                                                  {Dtype::kQ2_K, 10},
                                                  {Dtype::kQ4_K, 14},
                                                  {Dtype::kBF16, 32},
                                                  {Dtype::kTQ1_0, 36},
                                                  {Dtype::kTQ2_0, 37},
                                                  {Dtype::kQ2_0, 41}};
  const auto most =
      std::max_element(weights.begin(), weights.end(), [](const auto& a, const auto& b) {
        return a.second < b.second;
      });
  return most == weights.end() ? 0 : types.at(most->first);
}

std::span<const std::byte> bytes_of_tensor(const at::Tensor& t) {
  return {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()};
}

/// The file while it is written.
class GgufFileWriter {
 public:
  GgufFileWriter(const ExportSource& source,
                 const fs::path& folder,
                 Dtype ternary,
                 at::ScalarType dtype)
      : source_(source),
        names_(source.config),
        ternary_(ternary),
        dtype_(dtype),
        out_(folder / kGgufFile) {}

  void run() {
    write_gguf_config(source_, out_);
    write_gguf_tokenizer(source_, out_);
    for (const std::string& name : source_.names())
      add(name, source_.take(name));
    out_.u32("general.file_type", file_type(weights_));
    out_.text(model::kGgufSchemes, model::gguf_schemes_text(schemes_));
    out_.texts(model::kGgufFallbacks, fallbacks_);
    out_.finish();
  }

 private:
  void add(const std::string& name, ExportSource::Weight weight) {
    const std::string gguf_name = names_.to_gguf(name);
    if (gguf_name.empty())
      throw recipes::UserError("tensor '" + name + "': GGUF has no name for it");
    GgufTensor tensor;
    if (weight.codes) {
      quant::Encoded& e = *weight.codes;
      e.codes = names_.rows_to_gguf(name, e.codes);
      e.scales = names_.rows_to_gguf(name, e.scales);
      if (e.zeros.defined())
        e.zeros = names_.rows_to_gguf(name, e.zeros);
      tensor = codes_to_gguf(name, e, ternary_);
    } else {
      tensor = plain(name, names_.rows_to_gguf(name, weight.values));
    }
    out_.add(gguf_name, tensor.dtype, weight.values.sizes().vec(), bytes_of_tensor(tensor.stored));
    if (weight.values.dim() == 2)
      weights_[tensor.dtype] += weight.values.numel();
    if (tensor.scheme)
      schemes_.emplace(gguf_name, std::move(*tensor.scheme));
    for (const std::string& why : tensor.fallbacks)
      fallbacks_.push_back(gguf_name + ": " + std::string(io::dtype_name(tensor.dtype)) +
                           " instead of " + why);
  }

  // llama.cpp adds vectors and positions to fp32 values and wants them in that type.
  GgufTensor plain(const std::string& name, const at::Tensor& values) const {
    const bool positions =
        name.starts_with(std::string(model::names_of(source_.config.family).positions) + ".");
    if (values.dim() < 2 || (positions && source_.config.learned_positions))
      return {Dtype::kF32, values.contiguous(), {}, {}};
    if (const auto blocks = exact_q8_0(values))
      return {Dtype::kQ8_0, *blocks, {}, {}};
    at::ScalarType dtype = dtype_;
    for (const at::ScalarType small : {at::kBFloat16, at::kHalf}) {
      if (same_bits(values.to(small).to(at::kFloat), values))
        dtype = small;
    }
    return {file_dtype(dtype), round_to(values, dtype, name), {}, {}};
  }

  const ExportSource& source_;
  model::GgufNames names_;
  Dtype ternary_;
  at::ScalarType dtype_;
  io::GgufStream out_;
  std::map<Dtype, int64_t> weights_;
  std::map<std::string, model::GgufScheme> schemes_;
  std::vector<std::string> fallbacks_;
};

/// "blk.17.attn_q" -> "blk.*.attn_q".
std::string without_number(const std::string& line) {
  const std::string block = "blk.";
  if (!line.starts_with(block))
    return line;
  const auto end = std::find_if_not(line.begin() + static_cast<std::ptrdiff_t>(block.size()),
                                    line.end(),
                                    [](unsigned char c) { return std::isdigit(c) != 0; });
  return block + "*" + std::string(end, line.end());
}

class GgufFormat final : public Format {
 public:
  struct Config {
    std::string dtype_name = "bf16";
    std::string ternary = "tq2_0";
    std::string activations = "refuse";
    template <class Visitor>
    void fields(Visitor& v) {
      v("dtype",
        dtype_name,
        "of matrices that are not quantized and that no smaller type holds exactly",
        recipes::OneOf{"bf16", "fp16", "fp32"});
      v("ternary",
        ternary,
        "blocks for three levels: 2.06, 1.69 or 2.25 bits a weight; q2_0 also where inputs are no "
        "multiple of 256",
        recipes::OneOf{"tq2_0", "tq1_0", "q2_0"});
      v("activations",
        activations,
        "where [act] rounds activations, which this layout cannot say",
        recipes::OneOf{"refuse", "drop"});
    }
  };
  explicit GgufFormat(const Config& config)
      : dtype_(quant::parse_dtype(config.dtype_name)),
        ternary_(config.ternary == "tq1_0"  ? Dtype::kTQ1_0
                 : config.ternary == "q2_0" ? Dtype::kQ2_0
                                            : Dtype::kTQ2_0),
        drops_(config.activations == "drop") {}

  void write(const ExportSource& source, const fs::path& folder) const override {
    GgufFileWriter(source, folder, ternary_, dtype_).run();
  }

  std::optional<std::string> why_not(const Prospect& prospect) const override {
    if (const std::string why = why_no_gguf(prospect.config); !why.empty())
      return why;
    try {
      for (const Prospect::Matrix& matrix : prospect.matrices)
        if (matrix.scheme)
          codes_to_gguf(matrix.tensor, *matrix.scheme, ternary_);
    } catch (const recipes::UserError& error) {
      return error.what();
    }
    return Format::why_not(prospect);
  }

  bool refuses_inexact() const override { return true; }

  bool holds_merged() const override { return false; }

  bool is_complete() const override { return true; }

  KeepsActivations activations() const override {
    return drops_ ? KeepsActivations::kDropped : KeepsActivations::kRefused;
  }

  std::string dtype() const override { return "bfloat16"; }

  ReadBack read(const fs::path& folder) const override {
    model::GgufExport content = model::open_gguf_export(folder / kGgufFile);
    return {std::move(content.weights), std::move(content.storage)};
  }

  bool recognises(const fs::path& folder) const override { return fs::exists(folder / kGgufFile); }

  std::vector<std::string> remarks(const fs::path& folder) const override {
    const auto file = io::open_gguf(folder / kGgufFile);
    std::map<std::string, int64_t> types, fallbacks;
    for (const io::TensorView& view : file->tensors())
      ++types[std::string(io::dtype_name(view.dtype))];
    std::vector<std::string> lines{"tensors by type:"};
    for (const auto& [type, count] : types)
      lines.front() += " " + type + " " + std::to_string(count);
    for (const std::string& line : file->texts(model::kGgufFallbacks))
      ++fallbacks[without_number(line)];
    for (const auto& [line, count] : fallbacks)
      lines.push_back(line + (count > 1 ? " (" + std::to_string(count) + " tensors)" : ""));
    return lines;
  }

 private:
  at::ScalarType dtype_;
  Dtype ternary_;
  bool drops_;
};

}  // namespace

void add_gguf(recipes::Registry<Format>& registry) {
  registry.add<GgufFormat>("gguf", "one file that llama.cpp opens, in blocks that hold the codes");
}

}  // namespace sterna::exporter
