#include "trainer/run/cached_teacher.h"

#include <algorithm>
#include <span>

#include "distill/confidence.h"
#include "trainer/run/log.h"
#include "trainer/run/session.h"

namespace sterna::run {

CachedTeacher::CachedTeacher(TeacherCache cache, TeacherRows rows, Tensor head)
    : cache_(std::move(cache)), rows_(std::move(rows)), head_(std::move(head)) {}

void CachedTeacher::give(const Inputs& inputs, distill::HeadInputs& head) const {
  std::vector<std::string> keys;
  std::vector<std::span<const std::byte>> rows;
  for (int64_t b = 0; b < inputs.tokens.size(0); ++b) {
    keys.push_back(sample_key(inputs, b));
    rows.push_back(cache_.row(keys.back()));
  }
  rows_.unpack(rows, head);
  head.teacher_head = head_;
  for (const std::string& key : keys)
    cache_.release(key);
}

double CachedTeacher::mean_confidence(const Inputs& inputs) const {
  distill::HeadInputs head;
  give(inputs, head);
  if (rows_.hidden())
    return distill::mean_confidence(head.teacher_hidden.to(head_.device()), head_);
  return head.teacher_top.log_p.select(2, 0).exp().mean().item<double>();
}

TeacherRows rows_of(const Session& session) {
  const TeacherConfig& config = session.settings.teacher;
  TeacherRows rows;
  rows.kind = config.cache;
  rows.tokens = session.settings.train.seq_len;
  rows.width = session.teacher_source.config.embedding_width();
  rows.vocab = session.teacher_source.config.vocab;
  rows.k = config.top_k;
  rows.dtype = config.top_dtype == "fp16" ? at::kHalf : at::kFloat;
  return rows;
}

int64_t samples_of(const Session& session) {
  const TrainConfig& train = session.settings.train;
  return std::max(train.steps * train.accumulate, session.objective->batches_to_measure()) *
         train.batch;
}

std::string cache_text(const Session& session) {
  const TeacherRows rows = rows_of(session);
  const int64_t samples = std::min(samples_of(session), session.samples->size());
  return "teacher cache: " + rows.kind + ", " + std::to_string(rows.bytes_per_token()) +
         " bytes a token, " +
         short_number(static_cast<double>(samples * rows.bytes()) / (1024.0 * 1024.0), 3) +
         " MiB for " + std::to_string(samples) + " samples";
}

}  // namespace sterna::run
