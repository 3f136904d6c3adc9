#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "quant/gptq.h"
#include "quant/quantizer.h"
#include "recipes/recipe.h"
#include "trainer/model/decoder.h"

namespace sterna::model {

/// The recipe's `[ptq]`: how `sterna quantize` rounds.
struct PtqConfig {
  std::string rounding = "nearest";
  std::filesystem::path text;
  int64_t samples = 128;
  int64_t seq_len = 512;
  bool act_order = false;
  double damp = 0.01;

  template <class Visitor>
  void fields(Visitor& v) {
    v("rounding",
      rounding,
      "each weight to the nearest code, or GPTQ: errors made up for by weights not rounded yet",
      recipes::OneOf{"nearest", "gptq"});
    v("text", text, "gptq: file whose tokens the inputs of the layers are measured on");
    v("samples", samples, "gptq: sequences, from the text's beginning", recipes::Range{1, 1 << 20});
    v("seq_len", seq_len, "gptq: tokens of a sequence", recipes::Range{1, 1 << 20});
    v("act_order", act_order, "gptq: inputs with the largest activations first");
    v("damp",
      damp,
      "gptq: share of the Hessian's mean diagonal added to it",
      recipes::Range{1e-8, 1.0});
  }
};

/// What calibrate() asks for and gives, weight by weight. `name` is the parameter's.
struct Rounding {
  /// The quantizer of a matrix after init(), or null where it stays as it is.
  std::function<std::unique_ptr<quant::Quantizer>(const std::string& name)> quantizer_of;
  std::function<void(const std::string& name, const quant::Encoded& encoded)> done;
};

/// Rounds the linear layers of every block by GPTQ, one block after the other, on the inputs that
/// the quantized blocks before it give. The decoder holds the rounded weights afterwards.
/// @param decoder  fp32
/// @param tokens   int64 [S, T]
void round_by_gptq(Decoder& decoder,
                   const Tensor& tokens,
                   const Rounding& rounding,
                   const quant::GptqOrder& order);

}  // namespace sterna::model
