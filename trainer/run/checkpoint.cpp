#include "trainer/run/checkpoint.h"

#include "trainer/io/atomic_file.h"
#include "trainer/io/safetensors.h"
#include "trainer/io/sha256.h"
#include "trainer/model/activations.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/code_version.h"
#include "trainer/run/held_codes.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using Named = std::map<std::string, Tensor>;

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
    if (!slot.quantizer)
      continue;
    const quant::Encoded encoded = slot.quantizer->encode(slot.master);
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
      if (slot.held)
        result.emplace(slot.name, quant::decode(held_now(slot)));
  }
  result.insert(average->tensors().begin(), average->tensors().end());
  return result;
}

void write_kind(const fs::path& folder,
                model::Manifest& manifest,
                const std::string& kind,
                const Named& tensors) {
  if (tensors.empty())
    return;
  const std::string file = kind + ".safetensors";
  std::vector<io::TensorToWrite> writes;
  std::vector<Tensor> alive;
  for (const auto& [name, tensor] : tensors) {
    alive.push_back(tensor.detach().cpu().contiguous());
    const Tensor& t = alive.back();
    writes.push_back({name,
                      io::Dtype::kF32,
                      t.sizes().vec(),
                      {static_cast<const std::byte*>(t.const_data_ptr()), t.nbytes()}});
    const int64_t rows = t.dim() == 0 ? 1 : t.size(0);
    manifest.tensors.push_back({name, kind, io::Dtype::kF32, t.sizes().vec(), {{file, 0, rows}}});
  }
  io::write_safetensors(folder / file, std::move(writes));
  manifest.files[file] = io::sha256_of_file(folder / file);
}

void restore_masters(const fs::path& checkpoint,
                     const model::Manifest& manifest,
                     Student& student) {
  const Named stored = model::read_kind(checkpoint, manifest, "master");
  for (const auto& [name, target] : masters_of(student)) {
    const auto at = stored.find(name);
    if (at == stored.end() || at->second.sizes() != target.sizes())
      throw io::FileError(checkpoint.string() + ": master " + name +
                          (at == stored.end() ? " is absent" : " has another shape") +
                          ": was the model changed since?");
    Tensor(target).copy_(at->second);
  }
}

/// A folder that goes with the object, if it is still there.
struct Draft {
  explicit Draft(const fs::path& place) : path(place) {
    fs::remove_all(path);
    fs::create_directories(path);
  }
  ~Draft() {
    std::error_code ignored;  // on a disk that fails, the next checkpoint clears it away
    fs::remove_all(path, ignored);
  }
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  const fs::path path;
};

}  // namespace

fs::path save_checkpoint(const fs::path& run, model::Manifest header, const Trainee& trainee) {
  auto& [student, optimizer, average, ranges] = trainee;
  const at::NoGradGuard no_grad;
  const std::string name =
      (header.stage == "blockwise" ? "block-" : "step-") + std::to_string(header.step);
  const fs::path target = run / "checkpoints" / name;
  const Draft draft(run / "checkpoints" / ("." + name + ".tmp"));
  const fs::path& temporary = draft.path;
  header.code_version = code_version();
  header.tensors.clear();
  header.files.clear();
  write_kind(temporary, header, "master", masters_of(student));
  Named learned = learned_of(student);
  if (ranges != nullptr)
    learned.merge(ranges->tensors());
  write_kind(temporary, header, "quant", learned);
  write_kind(temporary, header, "buffer", buffers_of(student));
  Named first;
  Named second;
  for (const auto& [tensor, moments] : optimizer.moments()) {
    first.emplace(tensor, moments.first);
    second.emplace(tensor, moments.second);
  }
  write_kind(temporary, header, "moment1", first);
  write_kind(temporary, header, "moment2", second);
  write_kind(temporary, header, "ema", averages_of(student, average));
  model::write_manifest(temporary, header);
  fs::remove_all(target);
  io::publish_folder(temporary, target);
  return target;
}

void restore_checkpoint(const fs::path& checkpoint,
                        const model::Manifest& manifest,
                        Student& student,
                        Optimizer& optimizer) {
  const at::NoGradGuard no_grad;
  restore_masters(checkpoint, manifest, student);
  const model::CheckpointTensors tensors(checkpoint, manifest);
  const model::StoredQuantizers stored(tensors);
  for (Slot& slot : student.slots()) {
    if (slot.quantizer)
      stored.restore(*slot.quantizer, slot.name, slot.master);
    slot.stale = true;
  }
  if (!model::act_state(student.decoder()).empty())
    model::restore_act_state(
        student.decoder(), model::read_kind(checkpoint, manifest, "buffer"), checkpoint.string());
  const Named first = model::read_kind(checkpoint, manifest, "moment1");
  Named second = model::read_kind(checkpoint, manifest, "moment2");
  optimizer.moments().clear();
  for (const auto& [name, tensor] : first) {
    const auto own = manifest.state.find(kAppliedTo + name);
    const int64_t applied =
        own == manifest.state.end() ? optimizer.applied() : static_cast<int64_t>(own->second);
    optimizer.moments()[name] = {tensor, second.at(name), applied};
  }
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
