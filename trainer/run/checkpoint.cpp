#include "trainer/run/checkpoint.h"

#include "trainer/model/activations.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/held_codes.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using Named = std::map<std::string, Tensor>;

/// A matrix of no rows is held, whoever holds none of its rows.
bool holds_none(const Slot& slot) {
  return slot.rows.count() == 0 && !slot.rows.whole();
}

int64_t row_count(const Tensor& tensor) {
  return tensor.dim() == 0 ? 1 : tensor.size(0);
}

Named masters_of(Student& student) {
  Named result;
  for (const Slot& slot : student.slots())
    result.emplace(slot.name, slot.master);
  return result;
}

Named learned_of(Student& student) {
  Named result;
  for (const Slot& slot : student.slots())
    if (slot.quantizer)
      for (const quant::NamedTensor& each : slot.quantizer->parameters())
        result.emplace(model::quantizer_tensor(slot.name, each.name), each.tensor);
  return result;
}

// A reader recomputes them and must find the same bits.
Named scales_in_use(Student& student) {
  Named result;
  for (const Slot& slot : student.slots()) {
    if (!slot.quantizer || holds_none(slot))
      continue;
    const quant::Encoded encoded = slot.quantizer->encode(host_master(slot));
    result.emplace(model::quantizer_tensor(slot.name, model::kScalesInUse), encoded.scales);
    if (encoded.scales_below.defined())
      result.emplace(model::quantizer_tensor(slot.name, model::kScalesBelowInUse),
                     encoded.scales_below);
    if (encoded.zeros.defined())
      result.emplace(model::quantizer_tensor(slot.name, model::kZerosInUse), encoded.zeros);
  }
  return result;
}

Named buffers_of(Student& student) {
  Named result = scales_in_use(student);
  for (const Slot& slot : student.slots())
    if (slot.quantizer)
      for (const quant::NamedTensor& each : slot.quantizer->buffers())
        result.emplace(model::quantizer_tensor(slot.name, each.name), each.tensor);
  result.merge(model::act_state(student.decoder()));
  return result;
}

Named averages_of(Student& student, Average* average) {
  if (average == nullptr)
    return {};
  Named result;
  {
    const AverageInPlace shown(average);
    result = scales_in_use(student);
    // Held codes are those of the masters of these scales, not of the live ones.
    for (const Slot& slot : student.slots())
      if (slot.held && !holds_none(slot))
        result.emplace(slot.name, quant::decode(held_now(slot)));
  }
  result.insert(average->tensors().begin(), average->tensors().end());
  return result;
}

/// The parameters that tensors of a checkpoint belong to: "<parameter>" itself,
/// "<parameter>.quant.<name>" and their like.
class TensorOwners {
 public:
  explicit TensorOwners(Student& student) {
    for (const Slot& slot : student.slots())
      slots_.emplace(slot.name, &slot);
  }

  /// Null where it belongs to none, and every rank has it.
  const Slot* of(std::string tensor) const {
    for (;;) {
      const auto found = slots_.find(tensor);
      const size_t dot = tensor.rfind('.');
      if (found != slots_.end() || dot == std::string::npos)
        return found == slots_.end() ? nullptr : found->second;
      tensor.resize(dot);
    }
  }

 private:
  std::map<std::string, const Slot*> slots_;
};

void add_kind(const std::string& kind,
              const Named& tensors,
              const TensorOwners& owners,
              std::vector<Part>& parts) {
  for (const auto& [name, tensor] : tensors) {
    const Slot* slot = owners.of(name);
    if (slot != nullptr && holds_none(*slot))
      continue;
    const int64_t count = row_count(tensor);
    Rows rows{0, count, count};
    if (slot != nullptr && !slot->rows.whole()) {
      rows = slot->rows;
      TORCH_CHECK(count == rows.count(),
                  name,
                  " has ",
                  count,
                  " rows on a rank that holds rows ",
                  rows.begin,
                  " to ",
                  rows.end,
                  " of its matrix");
    }
    parts.push_back({kind, name, tensor.detach(), rows});
  }
}

/// Which rows of a listed tensor this rank wants: those of its matrix, where it has one for each.
std::pair<int64_t, int64_t> wanted_rows(const model::CheckpointTensor& listed,
                                        const TensorOwners& owners) {
  const Slot* slot = owners.of(listed.name);
  const int64_t rows = model::rows_of(listed);
  if (slot == nullptr || slot->rows.whole())
    return {0, rows};
  if (holds_none(*slot))
    return {0, 0};
  return rows == slot->rows.total ? std::pair(slot->rows.begin, slot->rows.end)
                                  : std::pair(int64_t{0}, rows);
}

void restore_masters(const model::CheckpointTensors& tensors, Student& student) {
  for (const Slot& slot : student.slots()) {
    const model::CheckpointTensor* listed = tensors.find("master", slot.name);
    std::vector<int64_t> shape = slot.master.sizes().vec();
    if (!shape.empty())
      shape[0] = slot.rows.total;
    if (listed == nullptr || listed->shape != shape)
      throw io::FileError(tensors.checkpoint().string() + ": master " + slot.name +
                          (listed == nullptr ? " is absent" : " has another shape") +
                          ": was the model changed since?");
    if (!holds_none(slot))
      Tensor(slot.master).copy_(tensors.read(*listed, slot.rows.begin, slot.rows.end));
  }
}

}  // namespace

std::vector<Part> parts_of(const Trainee& trainee) {
  auto& [student, optimizer, average, ranges] = trainee;
  const at::NoGradGuard no_grad;
  const TensorOwners owners(student);
  std::vector<Part> parts;
  add_kind("master", masters_of(student), owners, parts);
  Named learned = learned_of(student);
  if (ranges != nullptr)
    learned.merge(ranges->tensors());
  add_kind("quant", learned, owners, parts);
  add_kind("buffer", buffers_of(student), owners, parts);
  Named first;
  Named second;
  for (const auto& [tensor, moments] : optimizer.moments()) {
    first.emplace(tensor, moments.first);
    second.emplace(tensor, moments.second);
  }
  add_kind("moment1", first, owners, parts);
  add_kind("moment2", second, owners, parts);
  add_kind("ema", averages_of(student, average), owners, parts);
  return parts;
}

void restore_checkpoint(const fs::path& checkpoint,
                        const model::Manifest& manifest,
                        Student& student,
                        Optimizer& optimizer) {
  const at::NoGradGuard no_grad;
  const model::CheckpointTensors tensors(checkpoint, manifest);
  restore_masters(tensors, student);
  const model::StoredQuantizers stored(tensors);
  for (Slot& slot : student.slots()) {
    if (slot.quantizer && !holds_none(slot))
      stored.restore(*slot.quantizer, slot.name, host_master(slot), slot.rows.begin);
    slot.stale = true;
  }
  if (!model::act_state(student.decoder()).empty())
    model::restore_act_state(
        student.decoder(), read_held(tensors, "buffer", student), checkpoint.string());
  const Named first = read_held(tensors, "moment1", student);
  Named second = read_held(tensors, "moment2", student);
  optimizer.moments().clear();
  for (const auto& [name, tensor] : first) {
    const auto own = manifest.state.find(kAppliedTo + name);
    const int64_t applied =
        own == manifest.state.end() ? optimizer.applied() : static_cast<int64_t>(own->second);
    optimizer.moments()[name] = {tensor, second.at(name), applied};
  }
}

Named read_held(const model::CheckpointTensors& tensors,
                const std::string& kind,
                Student& student) {
  const TensorOwners owners(student);
  Named result;
  for (const std::string& name : tensors.names(kind)) {
    const model::CheckpointTensor& listed = *tensors.find(kind, name);
    const auto [begin, end] = wanted_rows(listed, owners);
    if (begin < end || model::rows_of(listed) == 0)
      result.emplace(name, tensors.read(listed, begin, end));
  }
  return result;
}

void prune_checkpoints(const fs::path& run, int64_t keep_last, const std::string& best) {
  const std::vector<fs::path> all = model::checkpoints_of_run(run);
  const auto count = static_cast<int64_t>(all.size());
  for (int64_t i = 0; i + keep_last < count; ++i)
    if (all[i].filename() != best)
      fs::remove_all(all[i]);
  if (!fs::is_directory(run / "checkpoints"))
    return;
  for (const auto& entry : fs::directory_iterator(run / "checkpoints"))
    if (entry.path().filename().string().starts_with("."))
      fs::remove_all(entry.path());
}

}  // namespace sterna::run
