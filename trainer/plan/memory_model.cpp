#include "trainer/plan/memory_model.h"

#include <algorithm>
#include <utility>

#include "distill/head_product.h"
#include "trainer/plan/stage_memory.h"

namespace sterna::plan {
namespace {

// Gradients of the head in low precision are made by so many rows at a time (head_product.cpp).
constexpr double kHeadRows = 8192;
// Inputs of blocks that are not in host memory, where they are offloaded (offload.h).
constexpr double kInputsHere = 2;
// Where logits lie on a device, their figures and gradient are made by operations on whole chunks
// (distill/logits.cpp): so many fp32 tensors of a chunk's size are there at a time.
constexpr double kLogitCopies = 3;
constexpr double kTaughtLogitCopies = 8;
// AdamW on a device holds so many beside a parameter (adamw.cpp).
constexpr double kUpdateCopies = 2;

/// Most of two parts that follow each other: the one that computes and the one on its way.
template <class Here, class There>
double neighbours(const std::vector<PartSize>& parts, const Here& here, const There& there) {
  double most = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    const double next = i + 1 < parts.size() ? there(parts[i + 1]) : 0;
    const double last = i > 0 ? there(parts[i - 1]) : 0;
    most = std::max(most, here(parts[i]) + std::max(next, last));
  }
  return most;
}

/// What travels over Gloo lies in two places: c10d gathers into a buffer of its own, and the rows
/// that a rank adds up come beside those that it sends.
double copies_under_way(const Workload& work) {
  return on_device(work) ? 1 : 2;
}

/// Gradients of the part on its way back and those of the part before it, which are being summed; a
/// tied head's lie open all along.
double travelling_gradients(const Workload& work) {
  const double wire = bytes_of(work.settings.dist.reduce_dtype) * copies_under_way(work);
  const double tied = work.student.tied ? kFp32 * work.parts.front().trained : 0;
  return tied + neighbours(
                    work.parts,
                    [](const PartSize& part) { return kFp32 * part.trained; },
                    [&](const PartSize& part) { return wire * part.trained; });
}

/// Of the part that computes and of its neighbour.
double travelling_weights(const Workload& work,
                          const std::vector<PartSize>& parts,
                          const std::string& dtype) {
  const auto bytes = [&](const PartSize& part) { return parameter_bytes(part, dtype); };
  return neighbours(
      parts, bytes, [&](const PartSize& part) { return copies_under_way(work) * bytes(part); });
}

/// Weights that stay, on their way to all: of a part that has come and of the next.
double gathered_weights(const Workload& work) {
  const auto bytes = [&](const PartSize& part) {
    return copies_under_way(work) * parameter_bytes(part, work.settings.model.dtype);
  };
  return neighbours(work.parts, bytes, bytes);
}

double largest_part(const std::vector<PartSize>& parts, double bytes) {
  double most = 0;
  for (const PartSize& part : parts)
    most = std::max(most, bytes * part.trained);
  return most;
}

double buffer_bytes(const Workload& work, const Share& share) {
  if (share.ranks == 1)
    return 0;
  const run::Settings& s = work.settings;
  const double wire = bytes_of(s.dist.reduce_dtype);
  double bytes = 0;
  switch (zero_stage(s.dist)) {
    case 0:  // in place, or rounded beside the gradients
      bytes = s.dist.reduce_dtype == "bf16" ? wire * sum_of(work.parts).trained : 0;
      break;
    case 1:
      bytes =
          std::max(largest_part(work.parts, wire * copies_under_way(work)), gathered_weights(work));
      break;
    case 2:
      bytes = std::max(travelling_gradients(work), gathered_weights(work));
      break;
    default:
      bytes = travelling_gradients(work) + travelling_weights(work, work.parts, s.model.dtype);
  }
  if (work.teacher && s.dist.teacher == "sharded")
    bytes += travelling_weights(work, work.teacher_parts, s.teacher.dtype);
  return bytes;
}

/// Quantizers are in host memory wherever the rest is; with `memory.offload = "optimizer"` so are
/// masters and what moves them. Gradients come down where a rank has its sum: ddp's and zero1's lie
/// on the device as well.
void move_to_host(const Workload& work, double own, MemoryEstimate& m) {
  if (!on_device(work))
    return;
  const PartSize all = sum_of(work.parts);
  m.host.quantizers = std::exchange(m.quantizers, 0);
  m.host.moments = 2 * kFp32 * all.learned * own;
  m.moments -= m.host.moments;
  m.host.average = m.average > 0 ? kFp32 * all.learned * own : 0;
  m.average -= m.host.average;
  if (!offloads_optimizer(work))
    return;
  m.host.masters = std::exchange(m.masters, 0);
  m.host.moments += std::exchange(m.moments, 0);
  m.host.average += std::exchange(m.average, 0);
  m.host.gradients = kFp32 * all.trained * own;
  if (zero_stage(work.settings.dist) >= 2)
    m.gradients = 0;
}

void add_state(const Workload& work, const Share& share, MemoryEstimate& m) {
  const run::Settings& s = work.settings;
  const PartSize all = sum_of(work.parts);
  const int64_t stage = zero_stage(s.dist);
  const double each = 1.0 / static_cast<double>(share.ranks);
  const auto part = [&](int64_t from) { return stage >= from ? each : 1.0; };
  m.masters = kFp32 * (all.matrices + all.vectors) * part(1);
  m.moments = 2 * kFp32 * all.moved * part(1);
  m.quantizers = all.quantizers * part(1);
  m.average = s.train.ema > 0 ? kFp32 * all.moved * part(1) : 0;
  m.gradients = kFp32 * all.trained * part(2);
  m.compute = parameter_bytes(all, s.model.dtype) * part(3);
  const bool sharded =
      work.teacher && s.dist.teacher == "sharded";  // of a cached one the head stays
  m.teacher = parameter_bytes(sum_of(work.teacher_parts), s.teacher.dtype) * (sharded ? each : 1.0);
  m.buffers = buffer_bytes(work, share);
  move_to_host(work, part(1), m);
  if (on_device(work) && !offloads_optimizer(work))
    m.update = kUpdateCopies * kFp32 * work.largest * part(1);
}

void add_activations(const Workload& work, double tokens, MemoryEstimate& m) {
  const run::Settings& s = work.settings;
  const model::DecoderConfig& c = work.student;
  const double size = bytes_of(s.model.dtype);
  const auto width = static_cast<double>(c.width);
  const auto head_width = static_cast<double>(c.embedding_width());
  const double block = saved_per_token(c, size);
  const double kept = s.train.recompute ? size * width : block;
  const bool offloads = s.memory.offload == "activations";
  const auto layers = static_cast<double>(c.layers);
  m.activations = tokens * kept * (offloads ? std::min(layers, kInputsHere) : layers);
  m.host.activations = offloads ? tokens * kept * layers : 0;
  // What the final norm reads and gives, and the gradient of that.
  m.activations += tokens * size * (width + 2 * head_width);
  if (work.teacher)
    m.activations +=
        tokens * bytes_of(s.teacher.dtype) * static_cast<double>(work.teacher->embedding_width());
  // The gradient of every hidden state that is compared waits for the way back.
  if (work.compares_hidden)
    m.activations += tokens * size * width * static_cast<double>(c.layers + 1);
  // Gradients of the sum, of the feed-forward part's inner values and of what these were made of.
  m.working = tokens * size * (2 * width + 2 * static_cast<double>(c.inner));
  if (s.train.recompute)
    m.working += tokens * block;
  // A product in low precision is made before it is added to the fp32 gradient.
  if (size < kFp32)
    m.working += size * work.largest_matrix;
}

void add_loss(const Workload& work, double tokens, MemoryEstimate& m) {
  const run::Settings& s = work.settings;
  const auto vocab = static_cast<double>(work.student.vocab);
  const double size = bytes_of(s.model.dtype);
  const double teacher = s.teacher.cache == "topk" ? kFp32 : bytes_of(s.teacher.dtype);
  const double word = size + (work.taught ? teacher : 0);
  const auto chosen = static_cast<double>(
      std::min(distill::affordable_tokens(work.student.vocab, static_cast<int64_t>(word)),
               distill::kManyTokens));
  const double chunk = work.chunk > 0 ? static_cast<double>(work.chunk) : chosen;
  const double copies = !on_device(work) ? 0 : work.taught ? kTaughtLogitCopies : kLogitCopies;
  m.loss = std::min(tokens, chunk) * vocab * (word + kFp32 * copies);
  if (size < kFp32)
    m.loss +=
        std::min(vocab, kHeadRows) * static_cast<double>(work.student.embedding_width()) * size;
}

}  // namespace

double HostMemory::total() const {
  return masters + gradients + moments + quantizers + average + activations + copy;
}

double MemoryEstimate::total() const {
  const double models = masters + compute + quantizers + teacher;
  const double state = models + gradients + moments + average + copy + buffers;
  const double training =
      state + std::max({activations + std::max(loss, working), evaluation, update});
  const double before = (uncut > 0 ? uncut : models) + std::max(streams, evaluation);
  return std::max(training, before) + program;
}

MemoryEstimate estimate_memory(const Workload& work, const Share& share, double program) {
  const run::Settings& s = work.settings;
  MemoryEstimate m;
  add_state(work, share, m);
  if (s.train.steps > 0) {
    const auto tokens = static_cast<double>(share.rows * s.train.seq_len);
    add_activations(work, tokens, m);
    add_loss(work, tokens, m);
  }
  m.streams = blockwise_bytes(work, share.ranks);
  m.evaluation = evaluation_bytes(work);
  m.uncut = models_before(work, m);
  m.program = program;
  return m;
}

double checkpoint_copy(const Workload& work, int64_t ranks) {
  const run::Settings& s = work.settings;
  const bool amid = s.train.checkpoint_every > 0 || (s.eval.every > 0 && s.train.keep_best);
  const bool copies = s.train.steps > 0 && s.train.checkpoint_async && amid;
  return copies ? checkpoint_bytes(work) / static_cast<double>(ranks) : 0;
}

double checkpoint_bytes(const Workload& work) {
  const PartSize all = sum_of(work.parts);
  return kFp32 * (all.matrices + all.vectors) + 2 * kFp32 * all.moved + all.quantizers +
         (work.settings.train.ema > 0 ? kFp32 * all.moved : 0);
}

}  // namespace sterna::plan
