#pragma once

#include <vector>

#include "trainer/model/decoder.h"
#include "trainer/model/names.h"
#include "trainer/model/ops.h"

namespace sterna::model {

/// A norm of either kind; the bias is undefined for root mean square norms.
struct Norm {
  NormKind kind = NormKind::kRms;
  double eps = 1e-5;
  Tensor weight, bias;     ///< fp32 [D]
  Tensor grad, bias_grad;  ///< fp32 [D], undefined where frozen

  Tensor forward(const Tensor& x, at::ScalarType dtype) const;
};

/// Gathers the parameters of a decoder under their names.
class ParameterList {
 public:
  /// Where what is added from now on stands. @param layer  as Parameter::layer
  void stand_in(int64_t layer, bool behind = false) {
    layer_ = layer;
    behind_ = behind;
  }
  void add(quant::Linear& linear, int64_t n, int64_t k, bool bias);
  void add(const std::string& path, Norm& norm, int64_t width);
  void add_table(const std::string& path, Tensor& table, Tensor& grad, std::vector<int64_t> shape);

  std::vector<Parameter> take() { return std::move(list_); }

 private:
  void put(Parameter parameter);

  std::vector<Parameter> list_;
  int64_t layer_ = -1;
  bool behind_ = false;
};

/// Attention and feed-forward part of one layer, whatever the family.
///   norm first:  a = x + attention(n(x)),  y = a + mlp(n(a))
///   norm behind: a = n(x + attention(x)),  y = n(a + mlp(a))
class Block {
 public:
  /// @param config  outlives the block
  Block(const DecoderConfig& config, int64_t layer);

  /// Sums are in the dtype of `x`, branches in the dtype of the weights.
  Tensor forward(const Tensor& x,
                 const Tensor& positions,
                 kvcache::Cache& cache,
                 const AttentionOutput& site) const;

  std::vector<quant::Linear*> linears();
  void list(ParameterList& parameters);
  void list_act_sites(std::vector<ActSite>& sites);
  void round_heads_together(bool together) { heads_together_ = together; }

 private:
  Tensor attention(const Tensor& n, const Tensor& positions, kvcache::Cache& cache) const;
  Tensor attention_or_instead(const Tensor& x,
                              const Tensor& positions,
                              kvcache::Cache& cache,
                              const AttentionOutput& site) const;
  Tensor rounded(const std::shared_ptr<quant::ActQuantizer>& act, const Tensor& heads) const;
  Tensor feed_forward(const Tensor& n) const;
  std::string path(std::string_view part) const;

  const DecoderConfig& config_;
  const FamilyNames& names_;
  int64_t layer_;
  Norm attention_norm_;
  quant::Linear q_, k_, v_;  ///< q is all three where the family has them in one matrix
  Norm q_norm_, k_norm_;     ///< of each head
  quant::Linear o_;
  std::shared_ptr<quant::ActQuantizer> key_act_, value_act_;
  bool heads_together_ = false;
  Norm mlp_norm_;
  quant::Linear gate_, up_, down_;  ///< gate is unused where nothing is gated
};

}  // namespace sterna::model
