#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <ATen/ATen.h>

#include "kvcache/cache.h"
#include "quant/linear.h"
#include "trainer/model/config.h"

namespace sterna::model {

using at::Tensor;

/// One parameter of a model under its Hugging Face name. `value` is what the model computes with;
/// masters, moments and quantizers belong to the trainer.
struct Parameter {
  std::string name;  ///< "model.layers.0.mlp.up_proj.weight"
  Tensor* value;     ///< into the model
  Tensor* grad;      ///< fp32 buffer that backward adds to; undefined where frozen
  bool matrix;       ///< a weight of a quant::Linear or the embedding: may be quantized
};

/// A causal transformer as a list of layers one can step through: teacher and student advance side
/// by side, so one layer of teacher activations is alive at a time. Runs on one device; knows
/// nothing of ranks, files or schedules.
/// B sequences, T tokens, D width, V vocabulary, L layers.
class Decoder {
 public:
  /// All weights undefined; load.h fills them.
  explicit Decoder(const DecoderConfig& config);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  const DecoderConfig& config() const;
  std::shared_ptr<const kvcache::Rope> rope() const;

  /// int64 [B, T] -> [B, T, D]
  Tensor embed(const Tensor& tokens) const;

  /// One block: [B, T, D] -> [B, T, D]. The residual stream keeps the dtype of `x`.
  Tensor layer(int64_t index,
               const Tensor& x,
               const Tensor& positions,
               kvcache::Cache& cache) const;

  /// The final norm: what the head reads, [B, T, D].
  Tensor final_norm(const Tensor& x) const;

  /// Logits [..., V] in the compute dtype.
  Tensor head(const Tensor& hidden) const;

  /// The matrix that head() multiplies with, [V, D]; the embedding where tied.
  quant::Linear& head_linear();
  const quant::Linear& head_linear() const;

  /// embed, every layer, final_norm.
  Tensor hidden(const Tensor& tokens, const Tensor& positions, kvcache::Cache& cache) const;

  /// Every quantizable linear of the blocks (not the head), in order, by its module path.
  std::vector<quant::Linear*> linears();
  std::vector<quant::Linear*> linears_of_layer(int64_t index);

  /// Every parameter once (a tied head is its embedding), in a fixed order.
  std::vector<Parameter> parameters();

  /// Gradients of parameters that autograd holds (norms, biases) and the embedding's rows are
  /// added to Parameter::grad by backward_* of the layer tape (trainer/run/tape.h).
  void set_compute_dtype(at::ScalarType dtype);
  at::ScalarType compute_dtype() const;

 private:
  struct Body;
  std::unique_ptr<Body> body_;
};

}  // namespace sterna::model
