// GPTQ (Frantar et al., arXiv:2210.17323), block by block:
//   H of a layer = sum of x^T x over its inputs x, given by the rounded blocks before and by its
//   own block in full precision; then quant/gptq.h.
// As published, but within a block the layers are measured once, not one after the other.
#include "trainer/model/ptq.h"

namespace sterna::model {
namespace {

/// Adds nothing to the layer that it is attached to and sums x^T x of what passes, [K, K] in fp64.
class InputMoments final : public quant::Adapter {
 public:
  void attach(const std::string&, int64_t, int64_t k) override {
    sum_ = at::zeros({k, k}, at::kDouble);
  }
  Tensor forward(const Tensor& x) const override {
    const Tensor rows = x.reshape({-1, x.size(-1)});
    sum_.add_(rows.t().mm(rows));
    return at::zeros({}, x.options());
  }
  std::vector<quant::AdapterMatrix> matrices() override { return {}; }
  std::vector<Tensor> initial(uint64_t) const override { return {}; }
  Tensor delta() const override { TORCH_CHECK(false, "no adapter that could be merged"); }

  const Tensor& sum() const { return sum_; }

 private:
  mutable Tensor sum_;
};

struct Measured {
  quant::Linear* linear;
  std::unique_ptr<quant::Quantizer> quantizer;
  std::shared_ptr<InputMoments> inputs;
};

std::vector<Measured> attach(Decoder& decoder, int64_t layer, const Rounding& rounding) {
  std::vector<Measured> result;
  for (quant::Linear* linear : decoder.linears_of_layer(layer)) {
    auto quantizer = rounding.quantizer_of(linear->name + ".weight");
    if (!quantizer)
      continue;
    TORCH_CHECK(!linear->adapter, linear->name, ": merge its adapter before rounding");
    auto inputs = std::make_shared<InputMoments>();
    inputs->attach(linear->name, linear->weight.size(0), linear->weight.size(1));
    linear->adapter = inputs;
    result.push_back({linear, std::move(quantizer), std::move(inputs)});
  }
  return result;
}

quant::Encoded rounded(const Measured& m, const quant::GptqOrder& order) {
  try {
    return quant::gptq(m.linear->weight,
                       m.quantizer->encode(m.linear->weight),
                       m.quantizer->max_levels(),
                       m.inputs->sum(),
                       order);
  } catch (const recipes::UserError& error) {
    throw recipes::UserError(m.linear->name + ".weight: " + error.what());
  }
}

}  // namespace

void round_by_gptq(Decoder& decoder,
                   const Tensor& tokens,
                   const Rounding& rounding,
                   const quant::GptqOrder& order) {
  const at::NoGradGuard no_grad;
  TORCH_CHECK(decoder.compute_dtype() == at::kFloat, "gptq: expected an fp32 decoder");
  const Tensor positions = at::arange(tokens.size(1), at::kLong);
  Tensor stream = decoder.embed(tokens, positions);
  const auto through = [&](int64_t layer, int64_t sample) {
    const auto cache = kvcache::make_stateless(decoder.attention());
    return decoder.layer(layer, stream.narrow(0, sample, 1), positions, *cache);
  };
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer) {
    const std::vector<Measured> matrices = attach(decoder, layer, rounding);
    for (int64_t sample = 0; !matrices.empty() && sample < stream.size(0); ++sample)
      through(layer, sample);
    for (const Measured& m : matrices) {
      m.linear->adapter = nullptr;
      const quant::Encoded encoded = rounded(m, order);
      quant::decode_into(encoded, m.linear->weight);
      rounding.done(m.linear->name + ".weight", encoded);
    }
    for (int64_t sample = 0; sample < stream.size(0); ++sample)
      stream.narrow(0, sample, 1).copy_(through(layer, sample));
  }
}

}  // namespace sterna::model
