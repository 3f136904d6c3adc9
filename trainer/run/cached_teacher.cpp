#include "trainer/run/cached_teacher.h"

#include <algorithm>
#include <set>

#include "distill/confidence.h"
#include "quant/scale.h"
#include "recipes/paths.h"
#include "trainer/io/sha256.h"
#include "trainer/model/identity.h"
#include "trainer/model/load_parts.h"
#include "trainer/run/log.h"
#include "trainer/run/session.h"
#include "trainer/run/signals.h"
#include "trainer/run/step.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kPartBytes = int64_t{32} << 20;
constexpr int64_t kChunk = 256;  // tokens whose logits exist at a time
constexpr double kMebibyte = 1024.0 * 1024.0;
/// Raised with every change of what a model of given weights computes: older answers are not taken.
constexpr int kAnswerRevision = 1;

TeacherCache::Terms terms_of(const Session& session, const TeacherRows& rows) {
  const TeacherConfig& config = session.settings.teacher;
  std::string kind = rows.kind;
  if (!rows.hidden())
    kind += ", " + std::to_string(rows.k) + " words in " + config.top_dtype;
  return {{"teacher.cache", kind},
          {"teacher's weights", model::identity(session.teacher_source)},
          {"teacher.dtype", config.dtype},
          {"teacher.quant", session.teacher_quant},
          {"tokenizer", session.tokenizer->fingerprint()},
          {"revision", std::to_string(kAnswerRevision)},
          {"train.seq_len", std::to_string(rows.tokens)}};
}

fs::path folder_of(const TeacherConfig& config, const TeacherCache::Terms& terms) {
  if (!config.cache_dir.empty())
    return config.cache_dir;
  io::Sha256 hash;
  for (const auto& [name, value] : terms)
    hash.update(name + "\n" + value + "\n");
  return recipes::cache_dir() / "teacher" / hash.hex().substr(0, 32);
}

/// Those that the steps see, and those that are looked at before.
int64_t samples_of(const Session& session) {
  const TrainConfig& train = session.settings.train;
  return std::max(train.steps * train.accumulate, session.objective->batches_to_measure()) *
         train.batch;
}

/// A run's micro-batches, so that the teacher computes here what it would compute beside the
/// student, to the last bit.
class Ahead {
 public:
  Ahead(const Session& session, const TeacherRows& rows, TeacherCache& cache)
      : session_(session), rows_(rows), cache_(cache) {}

  /// First samples of the micro-batches that hold one the cache lacks.
  void look() {
    const int64_t batch = session_.settings.train.batch;
    for (int64_t first = 0; first < samples_of(session_); first += batch) {
      SignalWatch::check();
      const Inputs inputs = load_batch(*session_.samples, first, batch).inputs;
      bool whole = true;
      for (int64_t b = 0; b < batch; ++b)
        whole = !lacks(sample_key(inputs, b)) && whole;
      if (!whole)
        missing_.push_back(first);
    }
  }

  const std::vector<int64_t>& missing() const { return missing_; }
  int64_t missing_rows() const { return static_cast<int64_t>(lacking_.size()); }

  void say(const model::Decoder& teacher, int64_t first) {
    const Batch batch = load_batch(*session_.samples, first, session_.settings.train.batch);
    const at::NoGradGuard no_grad;
    const Tensor states = hidden_of(teacher, batch.inputs);
    std::vector<std::vector<std::byte>> rows = rows_.pack(states, words(teacher, states));
    for (size_t b = 0; b < rows.size(); ++b)
      cache_.add(sample_key(batch.inputs, static_cast<int64_t>(b)), std::move(rows[b]));
    waiting_ += std::ssize(rows) * rows_.bytes();
    if (waiting_ < kPartBytes)
      return;
    cache_.commit();
    waiting_ = 0;
  }

 private:
  /// True once: who asks later has the first answer.
  bool lacks(const std::string& key) { return !cache_.holds(key) && lacking_.insert(key).second; }

  distill::TopWords words(const model::Decoder& teacher, const Tensor& states) const {
    if (rows_.hidden())
      return {};
    std::vector<Tensor> ids;
    std::vector<Tensor> log_p;
    for (const Tensor& chunk : states.flatten(0, 1).split(kChunk)) {
      const distill::TopWords top = distill::top_words(teacher.head(chunk), rows_.k);
      ids.push_back(top.ids);
      log_p.push_back(top.log_p);
    }
    return {at::cat(ids), at::cat(log_p)};
  }

  const Session& session_;
  const TeacherRows& rows_;
  TeacherCache& cache_;
  std::vector<int64_t> missing_;
  std::set<std::string> lacking_;
  int64_t waiting_ = 0;
};

void require_room(const TeacherCache& cache, double bytes) {
  std::error_code unknown;
  const fs::space_info space = fs::space(cache.folder(), unknown);
  if (!unknown && static_cast<double>(space.available) < bytes)
    throw recipes::UserError("teacher.cache: what the teacher says needs " +
                             short_number(bytes / kMebibyte) + " MiB, but " +
                             cache.folder().string() + " has room for " +
                             short_number(static_cast<double>(space.available) / kMebibyte) +
                             "; name another teacher.cache_dir, train fewer steps, or take "
                             "teacher.cache=topk with a small teacher.top_k");
}

/// @return  the teacher's head, where rows are hidden states
Tensor say_what_lacks(Session& session, Ahead& ahead, TeacherCache& cache, Progress& progress) {
  const at::ScalarType dtype = quant::parse_dtype(session.settings.teacher.dtype);
  if (ahead.missing().empty())
    return model::load_head(session.teacher_source, dtype);
  const model::Decoder teacher = load_teacher(session);
  const auto total = std::ssize(ahead.missing());
  progress.start("teacher", 0, total, std::max<int64_t>(1, total / 10));
  try {
    for (int64_t i = 0; i < total; ++i) {
      SignalWatch::check();
      ahead.say(teacher, ahead.missing()[static_cast<size_t>(i)]);
      progress.step(i + 1, "");
    }
  } catch (const Interrupted&) {
    cache.commit();
    throw;
  }
  cache.commit();
  return teacher.head_linear().weight;
}

}  // namespace

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
    return distill::mean_confidence(head.teacher_hidden, head_);
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

std::string cache_text(const Session& session) {
  const TeacherRows rows = rows_of(session);
  const int64_t samples = std::min(samples_of(session), session.samples->size());
  return "teacher cache: " + rows.kind + ", " + std::to_string(rows.bytes_per_token()) +
         " bytes a token, " +
         short_number(static_cast<double>(samples * rows.bytes()) / kMebibyte, 3) + " MiB for " +
         std::to_string(samples) + " samples";
}

void teach_ahead(Session& session, Progress& progress) {
  if (!session.caches_teacher())
    return;
  const TeacherRows rows = rows_of(session);
  const TeacherCache::Terms terms = terms_of(session, rows);
  TeacherCache cache(folder_of(session.settings.teacher, terms), terms, rows.bytes());
  for (const std::string& message : cache.damaged())
    progress.line("WARNING: " + message + "; set aside, its answers are made anew");
  Ahead ahead(session, rows, cache);
  ahead.look();
  progress.line("teacher cache " + cache.folder().string() + ": " +
                std::to_string(ahead.missing_rows()) + " samples are to be made");
  require_room(cache, static_cast<double>(ahead.missing_rows() * rows.bytes()));
  Tensor head = say_what_lacks(session, ahead, cache, progress);
  session.cached_teacher = std::make_unique<CachedTeacher>(
      std::move(cache), rows, rows.hidden() ? std::move(head) : Tensor());
}

}  // namespace sterna::run
