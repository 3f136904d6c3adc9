#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "kvcache/cache.h"
#include "quant/act_plan.h"
#include "quant/linear.h"
#include "trainer/model/config.h"

namespace sterna::model {

using at::Tensor;

/// One parameter of a model under its Hugging Face name. Masters, moments and quantizers belong to
/// the trainer, which once a step writes `value` in place (value->copy_(...), no autograd history)
/// and zeroes and reads `grad`.
struct Parameter {
  std::string name;            ///< "model.layers.0.mlp.up_proj.weight"
  std::vector<int64_t> shape;  ///< as the configuration says, also before weights are loaded
  Tensor* value;  ///< into the model: compute dtype for matrices, fp32 for norms and biases
  Tensor* grad;   ///< into the model: set it to fp32 zeros to train, to undefined to freeze;
                  ///< backward adds to it in place
  bool matrix;    ///< a weight of a quant::Linear, the head or the embedding: may be quantized
  int64_t layer;  ///< block that it belongs to; -1: outside the blocks
  bool adapter = false;  ///< a matrix of an adapter: never quantized, not in checkpoints of others
  bool behind = false;   ///< outside, and computed after the blocks: final norm and head
};

/// A place in the blocks where activations may be rounded.
struct ActSite {
  std::string name;  ///< as rules and checkpoints call it: see quant::ActKind
  quant::ActKind kind;
  std::shared_ptr<quant::ActQuantizer>* quantizer;  ///< into the model; null rounds nothing
};

/// What a caller may do where a block's attention ends: behind o_proj, before the residual sum.
struct AttentionOutput {
  Tensor* seen = nullptr;  ///< receives it, [B, T, D] in the compute dtype
  Tensor instead;          ///< [B, T, D]: stands in for it; a constant for autograd
  Tensor rows;             ///< bool [B]: for which sequences it does. Undefined: for all, and the
                           ///< block's attention is not computed
};

/// Told where a part of a decoder begins to compute and where it ends, so that weights that are
/// kept elsewhere come in between. Part 0 is the embedding, 1 to L the blocks, L + 1 the final
/// norm, L + 2 an untied head; a tied one is part 0.
class PartGate {
 public:
  virtual ~PartGate() = default;
  virtual void enter(int64_t part) = 0;
  virtual void leave(int64_t part) = 0;
};

/// A causal transformer as a list of layers one can step through: teacher and student advance side
/// by side, so one layer of teacher activations is alive at a time. Runs on one device; knows
/// nothing of ranks, files or schedules.
///
/// Every step runs under autograd: it gives a graph where its input requires grad or a parameter
/// it uses has a gradient buffer.
/// B sequences, T tokens, D width, V vocabulary, L layers.
class Decoder {
 public:
  /// All weights undefined; load.h fills them.
  Decoder(const DecoderConfig& config, at::ScalarType compute_dtype);
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  const DecoderConfig& config() const;
  std::shared_ptr<const kvcache::Attention> attention() const;
  at::ScalarType compute_dtype() const;

  /// int64 [B, T] -> [B, T, D] in the compute dtype
  /// @param positions  int64 [T], or [B, T] where rows differ; here and below
  Tensor embed(const Tensor& tokens, const Tensor& positions) const;

  /// One block: [B, T, D] -> [B, T, D]. The residual stream keeps the dtype of `x`.
  Tensor layer(int64_t index,
               const Tensor& x,
               const Tensor& positions,
               kvcache::Cache& cache,
               const AttentionOutput& site = {}) const;

  /// The final norm and projection, where there are such: what the head reads, [B, T, width of the
  /// embedding] in the compute dtype.
  Tensor final_norm(const Tensor& x) const;

  /// Logits [..., V] in the compute dtype.
  Tensor head(const Tensor& hidden) const;

  /// The matrix that head() multiplies with, [V, width of the embedding]; the
  /// embedding, with its gradient, where tied.
  quant::Linear& head_linear();
  const quant::Linear& head_linear() const;

  /// The table of words, [V, width of the embedding].
  quant::Linear& embedding();

  /// embed, every layer, final_norm.
  Tensor hidden(const Tensor& tokens, const Tensor& positions, kvcache::Cache& cache) const;

  /// Every quantizable linear of the blocks (not the head), in order, by its module path.
  std::vector<quant::Linear*> linears();
  std::vector<quant::Linear*> linears_of_layer(int64_t index);

  /// Every parameter once (a tied head is its embedding), in a fixed order. The pointers stay
  /// valid when the decoder is moved.
  std::vector<Parameter> parameters();

  /// Every place where activations may be rounded, in order. The pointers stay valid when the
  /// decoder is moved.
  std::vector<ActSite> act_sites();

  /// Whether a token of keys and values is the vector of all heads, or (as it begins) of one.
  void round_heads_together(bool together);

  /// Null: all weights are at hand.
  void set_gate(std::shared_ptr<PartGate> gate);

  /// Moves every weight and gradient buffer.
  void move_to(at::Device device);

 private:
  struct Body;
  std::unique_ptr<Body> body_;
};

}  // namespace sterna::model
