#include "trainer/run/weight_shards.h"

#include "quant/packed.h"
#include "trainer/run/storage.h"

namespace sterna::run {
namespace {

/// Some bytes as rows of a weight.
Tensor as_rows(const Tensor& bytes, const Packing::Piece& piece, const Tensor& like) {
  std::vector<int64_t> shape = like.sizes().vec();
  shape[0] = piece.rows.count();
  return bytes.narrow(0, piece.at, piece.count).view(like.scalar_type()).view(shape);
}

Tensor rows_of(const Tensor& whole, const Rows& rows) {
  return whole.narrow(0, rows.begin, rows.count());
}

/// As bytes: where they come from, no dtype's alignment is kept.
Tensor raw_bytes(const Tensor& rows) {
  return rows.flatten().view(at::kByte);
}

int64_t row_bytes(const Tensor& t) {
  return t.size(0) == 0 ? 0 : t.numel() / t.size(0) * static_cast<int64_t>(t.element_size());
}

}  // namespace

WeightShards::WeightShards(dist::World& world, const Parts& parts, bool frees)
    : world_(world), frees_(frees) {
  const at::NoGradGuard no_grad;
  for (const std::vector<Weight>& weights : parts) {
    Part part(world.size());
    part.weights = weights;
    if (!weights.empty())
      bytes_ = weights.front().value->options().dtype(at::kByte);
    for (const Weight& weight : weights)
      part.packing.add(weight.rows, row_bytes(*weight.value));
    if (frees)
      part.segment = at::zeros({part.packing.segment()}, bytes_);
    for (size_t i = 0; i < weights.size(); ++i) {
      Tensor& value = *weights[i].value;
      const Packing::Piece& own = part.packing.piece(i, world.rank());
      if (!frees && storage_bytes(value) == 0)
        give_storage(value);
      part.own.push_back(frees ? as_rows(part.segment, own, value) : rows_of(value, own.rows));
      if (frees) {
        if (storage_bytes(value) > 0)
          part.own.back().copy_(rows_of(value, own.rows));
        value = at::empty(value.sizes(), value.options());  // what others refer to stays theirs
        free_storage(value);
      }
    }
    parts_.push_back(std::move(part));
  }
}

const Tensor& WeightShards::own_rows(const Tensor* value) const {
  for (const Part& part : parts_)
    for (size_t i = 0; i < part.weights.size(); ++i)
      if (part.weights[i].value == value)
        return part.own[i];
  TORCH_CHECK(false, "a weight that is not shared out");
}

void WeightShards::changed(int64_t index) {
  Part& part = parts_[index];
  TORCH_CHECK(!part.work && (part.users == 0 || !frees_), "weights change while they are in use");
  part.here = false;
}

Tensor WeightShards::sent_of(Part& part) const {
  if (frees_)
    return part.segment;
  Tensor bytes = at::empty({part.packing.segment()}, bytes_);
  for (size_t i = 0; i < part.weights.size(); ++i)
    as_rows(bytes, part.packing.piece(i, world_.rank()), *part.weights[i].value).copy_(part.own[i]);
  return bytes;
}

void WeightShards::fetch(int64_t index) {
  if (index < 0 || index >= static_cast<int64_t>(parts_.size()))
    return;
  Part& part = parts_[index];
  if (part.here || part.work || part.packing.segment() == 0)
    return;
  const at::NoGradGuard no_grad;
  part.sent = sent_of(part);
  part.gathered = at::empty({part.packing.ranks() * part.packing.segment()}, bytes_);
  part.work = world_.all_gather(part.gathered, part.sent);
}

void WeightShards::take(Part& part) {
  const at::NoGradGuard no_grad;
  part.work->wait();
  const int64_t segment = part.packing.segment();
  for (size_t i = 0; i < part.weights.size(); ++i) {
    const Tensor& value = *part.weights[i].value;
    if (frees_)
      give_storage(value);
    // Autograd's nodes refer to the weight and would take its coming back for a change.
    const Tensor raw = value.variable_data();
    for (int64_t rank = 0; rank < part.packing.ranks(); ++rank) {
      const Packing::Piece& piece = part.packing.piece(i, rank);
      if (piece.count > 0 && (frees_ || rank != world_.rank()))
        raw_bytes(rows_of(raw, piece.rows))
            .copy_(part.gathered.narrow(0, rank * segment + piece.at, piece.count));
    }
  }
  part.work.reset();
  part.sent = part.gathered = Tensor();
}

void WeightShards::hold(int64_t index) {
  Part& part = parts_[index];
  ++part.users;
  if (part.here)
    return;
  fetch(index);
  if (part.work)
    take(part);
  part.here = true;
}

void WeightShards::enter(int64_t part) {
  hold(part);
  if (!all_)
    fetch(back_ ? part - 1 : part + 1);
}

void WeightShards::leave(int64_t index) {
  Part& part = parts_[index];
  TORCH_CHECK(part.users > 0, "part ", index, " is left more often than entered");
  if (--part.users > 0 || !frees_)
    return;
  part.here = false;
  for (const Weight& weight : part.weights)
    free_storage(*weight.value);
}

void WeightShards::turn(bool back) {
  back_ = back;
  if (!back)
    return;
  const auto parts = static_cast<int64_t>(parts_.size());
  fetch(parts - 2);
  fetch(parts - 3);
}

void WeightShards::settle() {
  for (Part& part : parts_) {
    if (!part.work)
      continue;
    part.work->wait();
    part.work.reset();
    part.sent = part.gathered = Tensor();
  }
}

void WeightShards::hold_all() {
  if (all_)
    return;
  all_ = true;
  for (size_t part = 0; part < parts_.size(); ++part) {
    fetch(static_cast<int64_t>(part) + 1);
    hold(static_cast<int64_t>(part));
  }
}

void WeightShards::let_go() {
  settle();
  if (!all_)
    return;
  all_ = false;
  for (size_t part = 0; part < parts_.size(); ++part)
    leave(static_cast<int64_t>(part));
}

int64_t WeightShards::bytes() const {
  int64_t sum = 0;
  for (const Part& part : parts_) {
    for (const Weight& weight : part.weights)
      sum += storage_bytes(*weight.value);
    sum += storage_bytes(part.segment) + storage_bytes(part.gathered);
    sum += frees_ ? 0 : storage_bytes(part.sent);
  }
  return sum;
}

int64_t head_part(const model::Decoder& decoder) {
  return decoder.config().tied ? 0 : decoder.config().layers + 2;
}

int64_t part_of(const model::Decoder& decoder, const model::Parameter& parameter) {
  if (parameter.value == &decoder.head_linear().weight)
    return head_part(decoder);
  return parameter.behind ? decoder.config().layers + 1 : parameter.layer + 1;
}

std::shared_ptr<WeightShards> load_frozen(
    model::Decoder& decoder,
    dist::World& world,
    const std::function<Tensor(const model::Parameter&)>& whole,
    at::Device device) {
  const at::NoGradGuard no_grad;
  const std::vector<model::Parameter> parameters = decoder.parameters();
  for (const model::Parameter& p : parameters) {
    const at::ScalarType dtype = p.matrix ? decoder.compute_dtype() : at::kFloat;
    *p.value = at::empty(p.shape, at::TensorOptions(device).dtype(dtype));
    free_storage(*p.value);
  }
  auto shards = share_frozen(decoder, world);
  for (const model::Parameter& p : parameters)
    Tensor(shards->own_rows(p.value))
        .copy_(rows_of(whole(p), share_rows(p.shape[0], world.size())[world.rank()]));
  return shards;
}

std::shared_ptr<WeightShards> share_frozen(model::Decoder& decoder, dist::World& world) {
  WeightShards::Parts parts(parts_of(decoder));
  const auto add = [&](int64_t part, Tensor* value) {
    parts[part].push_back({value, share_rows(value->size(0), world.size())});
  };
  for (const model::Parameter& parameter : decoder.parameters())
    add(part_of(decoder, parameter), parameter.value);
  for (int64_t layer = 0; layer < decoder.config().layers; ++layer)
    for (const quant::Linear* linear : decoder.linears_of_layer(layer))
      if (auto* packed = dynamic_cast<quant::Packed*>(linear->adapter.get()))
        for (Tensor* each : packed->tensors())
          add(layer + 1, each);
  for (auto& weights : parts)  // packed behind each other, each at a multiple of its element
    std::stable_sort(weights.begin(), weights.end(), [](const auto& a, const auto& b) {
      return a.value->element_size() > b.value->element_size();
    });
  auto shards = std::make_shared<WeightShards>(world, parts, /*frees=*/true);
  decoder.set_gate(shards);
  return shards;
}

}  // namespace sterna::run
