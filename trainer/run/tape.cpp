#include "trainer/run/tape.h"

#include <torch/csrc/autograd/autograd.h>

namespace sterna::run {

Tensor pull(const Tensor& in, const Tensor& out, const Tensor& d_out) {
  if (!out.requires_grad())
    return {};
  if (!in.defined() || !in.requires_grad()) {
    torch::autograd::backward({out}, {d_out});
    return {};
  }
  return torch::autograd::grad({out}, {in}, {d_out}).front();
}

Tape::Tape(Student& student, bool recompute, std::unique_ptr<Offload> offload)
    : student_(student), recompute_(recompute), offload_(std::move(offload)) {
  TORCH_CHECK(recompute_ || !offload_, "tape: what lies inside a block is not offloaded");
}

/// The walk back ends at the lowest part that trains something.
Tensor Tape::leaf(int64_t part, const Tensor& x) const {
  return x.detach().requires_grad_(student_.trains_at_or_below(part - 2));
}

/// Blocks alone: what the final norm reads is wanted again at once.
bool Tape::offloads(int64_t part) const {
  return offload_ && part > 0 && part <= student_.decoder().config().layers;
}

/// And begins with the next one, which comes while this part computes.
void Tape::bring_back(int64_t part, Record& record) {
  if (offloads(part))
    record.in = leaf(part, offload_->take(part));
  if (offloads(part - 1))
    offload_->fetch(part - 1);
}

Tensor Tape::run(int64_t part, const Tensor& x, const model::AttentionOutput& site) {
  const model::Decoder& decoder = student_.decoder();
  if (part == 0)
    return decoder.embed(inputs_.tokens, inputs_.positions);
  return part > decoder.config().layers
             ? decoder.final_norm(x)
             : decoder.layer(part - 1, x, inputs_.positions, *cache_, site);
}

Tensor Tape::forward(const Inputs& inputs, Lockstep* beside) {
  inputs_ = inputs;
  cache_ = inputs.cache(student_.decoder());
  records_.clear();
  if (offload_)
    offload_->begin();
  const at::AutoGradMode grad_mode(!recompute_);
  const int64_t parts = student_.decoder().config().layers + 2;
  if (beside != nullptr)
    beside->begin(inputs);
  Tensor x;
  for (int64_t part = 0; part < parts; ++part) {
    Record record;
    if (part > 0)
      record.in = leaf(part, x);
    if (offloads(part) && student_.trains_at_or_below(part - 1))
      offload_->put(part, x);
    const auto site = beside != nullptr ? beside->advance(part) : model::AttentionOutput();
    TORCH_CHECK(!recompute_ || !site.instead.defined(),
                "tape: an intervened block is not run twice");
    const Tensor out = run(part, record.in, site);
    x = out.detach();
    if (offloads(part))
      record.in = Tensor();
    if (beside != nullptr)
      record.d_out = beside->compare(part, x);
    if (!recompute_)
      record.out = out;
    records_.push_back(std::move(record));
  }
  return x;
}

void Tape::backward(const Tensor& d_hidden, model::PartGate* borders) {
  Tensor d = d_hidden;
  while (!records_.empty() && d.defined()) {
    const auto part = static_cast<int64_t>(records_.size()) - 1;
    Record record = std::move(records_.back());
    records_.pop_back();
    if (borders != nullptr)
      borders->enter(part);
    bring_back(part, record);
    if (!record.out.defined()) {
      const at::AutoGradMode grad_mode(true);
      record.out = run(part, record.in);
    }
    if (record.d_out.defined())
      d = d + record.d_out;
    d = pull(record.in, record.out, d);
    record = {};
    if (borders != nullptr)
      borders->leave(part);
  }
  records_.clear();
  cache_.reset();
}

}  // namespace sterna::run
