#include "trainer/plan/stage_memory.h"

#include <algorithm>
#include <cmath>

#include "trainer/eval/perplexity.h"

namespace sterna::plan {
namespace {

/// Bytes of a token that a block holds at once where nothing is kept for a way back: in the
/// feed-forward part, or in attention (queries and keys twice: turned).
double passing_per_token(const model::DecoderConfig& c, double bytes) {
  const auto width = static_cast<double>(c.width);
  const auto heads = static_cast<double>((c.heads + c.kv_heads) * c.head_dim);
  const double inner = (c.gated ? 3.0 : 2.0) * static_cast<double>(c.inner);
  return bytes * std::max(4 * width + inner, 3 * width + 3 * heads);
}

}  // namespace

double saved_per_token(const model::DecoderConfig& c, double bytes) {
  const auto width = static_cast<double>(c.width);
  const auto heads = static_cast<double>((2 * c.heads + 2 * c.kv_heads) * c.head_dim);
  const auto normed = c.head_norms ? static_cast<double>((c.heads + c.kv_heads) * c.head_dim) : 0;
  const double inner = (c.gated ? 3.0 : 2.0) * static_cast<double>(c.inner);
  return bytes * (4 * width + heads + normed + inner) + kFp32 * static_cast<double>(c.heads + 2);
}

double parameter_bytes(const PartSize& size, const std::string& dtype) {
  return size.matrices * bytes_of(dtype) + size.vectors * kFp32 + size.packed;
}

double evaluation_bytes(const Workload& work) {
  const run::Settings& s = work.settings;
  if (s.eval.text.empty() || !(s.eval.before || s.eval.after || s.eval.every > 0))
    return 0;
  const bool compares = work.teacher.has_value();
  const double size = bytes_of(s.model.dtype);
  const auto vocab = static_cast<double>(work.student.vocab);
  const auto tokens = static_cast<double>(eval::tokens_at_once(s.eval.options()));
  const auto chunk = static_cast<double>(
      std::min(eval::logits_at_once(work.student.vocab), s.eval.options().window));
  const double rounded = size < kFp32 ? size + kFp32 : 0;  // logits as they come, and widened
  const double word = rounded + kFp32 * (compares ? 5 : 2);
  const double hidden = tokens * size * static_cast<double>(work.student.embedding_width());
  double most = tokens * passing_per_token(work.student, size);
  if (compares)
    most = std::max(most,
                    hidden + tokens * passing_per_token(*work.teacher, bytes_of(s.teacher.dtype)));
  return std::max(most, hidden * (compares ? 2 : 1) + chunk * vocab * word);
}

double blockwise_bytes(const Workload& work, int64_t ranks) {
  const run::Settings& s = work.settings;
  if (!s.blockwise_wanted())
    return 0;
  const auto each = static_cast<double>(ranks);
  const auto length = static_cast<double>(s.blockwise_seq_len());
  const auto width = static_cast<double>(work.student.width);
  const double streams = s.blockwise.input == "full" ? 2 : 3;
  double block = 0;
  for (size_t i = 1; i + 1 < work.parts.size(); ++i)
    block = std::max(block, 4 * kFp32 * work.parts[i].quantized);
  const double batch = std::ceil(static_cast<double>(s.blockwise.batch) / each) * length;
  const double token = saved_per_token(work.student, bytes_of(s.model.dtype)) + 4 * kFp32 * width;
  return streams * kFp32 * static_cast<double>(s.blockwise.samples) / each * length * width +
         block + batch * token;
}

double models_before(const Workload& work, const MemoryEstimate& m) {
  const run::DistConfig& dist = work.settings.dist;
  const bool packed = sum_of(work.teacher_parts).packed > 0;
  const bool teacher = dist.teacher == "sharded" && (work.cut_late || packed);
  if (!(work.cut_late && dist.shards()) && !teacher)
    return 0;
  const PartSize all = sum_of(work.parts);
  const double masters = offloads_optimizer(work) ? 0 : kFp32 * (all.matrices + all.vectors);
  const double quantizers = on_device(work) ? 0 : all.quantizers;
  const double student =
      work.cut_late && dist.shards()
          ? masters + quantizers + parameter_bytes(all, work.settings.model.dtype)
          : m.masters + m.quantizers + (work.cut_late ? m.compute : 0);
  return student + (teacher
                        ? parameter_bytes(sum_of(work.teacher_parts), work.settings.teacher.dtype)
                        : m.teacher);
}

}  // namespace sterna::plan
