#include "trainer/model/answering.h"

#include <map>
#include <vector>

#include "quant/panels.h"
#include "trainer/model/weight_source.h"

namespace sterna::model {
namespace {

/// A matrix that the checkpoint has integers of.
struct Held {
  std::string name;
  quant::Linear* linear;
};

void empty(quant::Linear& linear, int64_t k, at::ScalarType dtype) {
  linear.weight = at::empty({0, k}, dtype);
  linear.adapter = nullptr;
}

/// Fills layers from a checkpoint.
class Filler {
 public:
  Filler(std::unique_ptr<WeightSource> source, at::ScalarType dtype)
      : source_(std::move(source)), dtype_(dtype) {}

  void fill(const Held& held) {
    const std::optional<quant::Encoded> integers = source_->integers(held.name);
    TORCH_CHECK(integers, held.name, " has no integers, though it was said to");
    const auto panels = quant::Panels::make(*integers);
    (panels ? report_->packed : report_->decoded).insert(held.name);
    if (panels) {
      empty(*held.linear, panels->inputs(), dtype_);
      held.linear->adapter = panels;
    } else {
      held.linear->weight = quant::decode(*integers, dtype_);
    }
  }

  WeightSource& source() { return *source_; }
  at::ScalarType dtype() const { return dtype_; }
  std::shared_ptr<const PackingReport> report() const { return report_; }

 private:
  std::unique_ptr<WeightSource> source_;
  at::ScalarType dtype_;
  std::shared_ptr<PackingReport> report_ = std::make_shared<PackingReport>();
};

/// Has a block's matrices in memory while the block computes.
class Stream final : public PartGate {
 public:
  explicit Stream(std::shared_ptr<Filler> filler) : filler_(std::move(filler)) {}

  void add(int64_t part, const Held& held) { parts_[part].push_back(held); }

  void enter(int64_t part) override {
    for (const Held& held : of(part))
      filler_->fill(held);
  }

  void leave(int64_t part) override {
    for (const Held& held : of(part))
      empty(*held.linear, held.linear->weight.size(1), filler_->dtype());
  }

 private:
  const std::vector<Held>& of(int64_t part) const {
    static const std::vector<Held> none;
    const auto found = parts_.find(part);
    return found == parts_.end() ? none : found->second;
  }

  std::shared_ptr<Filler> filler_;
  std::map<int64_t, std::vector<Held>> parts_;
};

/// Every layer by the weight that it multiplies with.
std::map<const Tensor*, quant::Linear*> layers_of(Decoder& decoder) {
  std::map<const Tensor*, quant::Linear*> layers;
  for (quant::Linear* linear : decoder.linears())
    layers[&linear->weight] = linear;
  for (quant::Linear* linear : {&decoder.embedding(), &decoder.head_linear()})
    layers[&linear->weight] = linear;
  return layers;
}

}  // namespace

AnsweringModel load_answering(const CheckpointInfo& info,
                              at::ScalarType compute_dtype,
                              WeightForm form) {
  auto filler = std::make_shared<Filler>(open_weights(info), compute_dtype);
  AnsweringModel model{Decoder(info.config, compute_dtype), filler->report()};
  const auto layers = layers_of(model.decoder);
  WeightSource& source = filler->source();
  const auto stream = std::make_shared<Stream>(filler);
  for (const Parameter& p : model.decoder.parameters()) {
    const auto layer = layers.find(p.value);
    const bool integers =
        form != WeightForm::kDequantized && layer != layers.end() && source.has_integers(p.name);
    if (!integers) {
      *p.value = source.take(p.name, p.matrix ? compute_dtype : at::kFloat);
    } else if (form == WeightForm::kStreamed && p.layer >= 0) {
      empty(*layer->second, p.shape[1], compute_dtype);
      stream->add(p.layer + 1, {p.name, layer->second});
    } else {
      filler->fill({p.name, layer->second});
    }
  }
  attach_activations(model.decoder, source.activations(), info.path.string());
  if (form == WeightForm::kStreamed)
    model.decoder.set_gate(stream);
  return model;
}

}  // namespace sterna::model
