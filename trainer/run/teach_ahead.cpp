#include "trainer/run/teach_ahead.h"

#include <optional>
#include <random>
#include <span>

#include "quant/scale.h"
#include "recipes/paths.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/sha256.h"
#include "trainer/model/identity.h"
#include "trainer/model/load_parts.h"
#include "trainer/run/asks.h"
#include "trainer/run/log.h"
#include "trainer/run/session.h"
#include "trainer/run/signals.h"
#include "trainer/run/step.h"
#include "trainer/run/together.h"
#include "trainer/run/weight_shards.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

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

bool shared_out(const Session& session) {
  return session.settings.dist.teacher == "sharded" && session.world->size() > 1;
}

/// The teacher for as long as it speaks: a run's micro-batches, so that it computes here what it
/// would compute beside the student, to the last bit. Where its weights are shared out, all ranks
/// ask at the same time.
class Speaker {
 public:
  Speaker(const Session& session, const TeacherRows& rows)
      : session_(session), rows_(rows), teacher_(load_teacher(session)) {
    if (shared_out(session))
      shards_ = share_frozen(teacher_, *session.world);
  }

  /// @param keep  null where another rank's ask is computed and this one only comes along
  void answer(const Ask& ask, TeacherCache* keep) const {
    const Batch batch = load_batch(*session_.samples, ask.first, session_.settings.train.batch);
    const at::NoGradGuard no_grad;
    const Tensor states = hidden_of(teacher_, batch.inputs);
    std::vector<std::vector<std::byte>> rows = rows_.pack(states, words(states));
    for (const int64_t row : ask.rows)
      if (keep != nullptr)
        keep->add(sample_key(batch.inputs, row), std::move(rows[static_cast<size_t>(row)]));
  }

  /// Behind the last answer: gives up what was fetched for one more.
  void finish() const {
    if (shards_)
      shards_->settle();
  }

 private:
  distill::TopWords words(const Tensor& states) const {
    if (rows_.hidden())
      return {};
    std::vector<Tensor> ids;
    std::vector<Tensor> log_p;
    if (shards_)
      shards_->hold(head_part(teacher_));
    for (const Tensor& chunk : states.flatten(0, 1).split(kChunk)) {
      const distill::TopWords top = distill::top_words(teacher_.head(chunk), rows_.k);
      ids.push_back(top.ids);
      log_p.push_back(top.log_p);
    }
    if (shards_)
      shards_->leave(head_part(teacher_));
    return {at::cat(ids), at::cat(log_p)};
  }

  const Session& session_;
  const TeacherRows& rows_;
  model::Decoder teacher_;
  std::shared_ptr<WeightShards> shards_;  // null where this rank has all of them
};

/// A folder that is not the same on all hosts would be filled in part.
void require_same_view(dist::World& world, const std::vector<Ask>& asks) {
  if (world.size() == 1)
    return;
  std::string text;
  for (const Ask& ask : asks)
    for (const int64_t row : ask.rows)
      text += std::to_string(ask.first + row) + " ";
  require_agreement(world,
                    {{"what teacher.cache_dir lacks",
                      std::to_string(rows_in(asks)) + " samples (SHA-256 " +
                          io::sha256_hex(std::as_bytes(std::span(text))).substr(0, 16) + ")"}});
}

/// A file for the others to look for.
struct Probe {
  fs::path path;
  ~Probe() {
    std::error_code gone;
    fs::remove(path, gone);
  }
};

/// Hosts whose folders are all empty agree on what is missing, and each would keep its own part.
void require_one_folder(dist::World& world, const fs::path& folder) {
  if (world.size() == 1)
    return;
  std::optional<Probe> probe;
  const fs::path seen = told_together(world, [&]() -> std::string {
                          if (world.rank() != 0)
                            return "";
                          std::random_device random;
                          probe.emplace(Probe{folder / ("seen-" + std::to_string(random()) +
                                                        std::to_string(random()))});
                          io::write_atomically(probe->path, "");
                          return probe->path;
                        }).front();
  const std::vector<std::string> blind = told_together(
      world, [&] { return fs::exists(folder / seen.filename()) ? "" : folder.string(); });
  for (size_t rank = 0; rank < blind.size(); ++rank)
    if (!blind[rank].empty())
      throw recipes::UserError("teacher.cache_dir: what rank 0 writes into its " +
                               seen.parent_path().string() + ", rank " + std::to_string(rank) +
                               " does not find in its " + blind[rank] +
                               "; each host would keep a part of what the teacher says. Name a "
                               "folder that all hosts share");
}

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

/// Where answers go, and who hears of it.
struct Listener {
  TeacherCache& cache;
  Progress& progress;
};

/// This rank's share of the answers.
void say_own(const Session& session,
             const TeacherRows& rows,
             const std::vector<Ask>& asks,
             const Listener& listener) {
  auto& [cache, progress] = listener;
  const int64_t batch_bytes = session.settings.train.batch * rows.bytes();
  const PartShares shares(std::ssize(asks), batch_bytes, session.world->size());
  const std::vector<int64_t> own = shares.of_rank(session.world->rank());
  const bool in_step = shared_out(session);
  if (own.empty() && !in_step)
    return;
  const Speaker speaker(session, rows);
  if (in_step)
    session.world->barrier();  // to load takes one longer than another
  // Rank 0 has the most.
  const int64_t rounds = in_step ? std::ssize(shares.of_rank(0)) : std::ssize(own);
  progress.start("teacher", 0, rounds, std::max<int64_t>(1, rounds / 10));
  try {
    for (int64_t i = 0; i < rounds; ++i) {
      in_step ? stop_together(*session.world) : SignalWatch::check();
      const bool mine = i < std::ssize(own);
      const int64_t ask = mine ? own[static_cast<size_t>(i)] : 0;
      speaker.answer(asks[static_cast<size_t>(ask)], mine ? &cache : nullptr);
      if (mine && shares.ends_part(ask))
        cache.commit();
      progress.step(i + 1, "");
    }
  } catch (const Interrupted&) {
    speaker.finish();
    cache.commit();
    throw;
  }
  speaker.finish();
  cache.commit();
}

}  // namespace

void teach_ahead(Session& session, Progress& progress) {
  if (!session.caches_teacher())
    return;
  dist::World& world = *session.world;
  const TeacherRows rows = rows_of(session);
  const TeacherCache::Terms terms = terms_of(session, rows);
  std::optional<TeacherCache> cache;
  const auto open = [&] {
    cache.emplace(folder_of(session.settings.teacher, terms), terms, rows.bytes());
  };
  rank_0_first(world, open);
  for (const std::string& message : cache->damaged())
    progress.line("WARNING: " + message + "; set aside, its answers are made anew");
  std::vector<Ask> asks;
  together(world, [&] { asks = missing_in(*cache, session); });
  require_same_view(world, asks);
  if (!asks.empty())
    require_one_folder(world, cache->folder());
  progress.line("teacher cache " + cache->folder().string() + ": " + std::to_string(rows_in(asks)) +
                " samples are to be made");
  if (world.rank() == 0)
    require_room(*cache, static_cast<double>(rows_in(asks) * rows.bytes()));
  if (!asks.empty()) {
    together(world, [&] { say_own(session, rows, asks, {*cache, progress}); });
    together(world, open);  // with what the others have written
  }
  const at::ScalarType dtype = quant::parse_dtype(session.settings.teacher.dtype);
  session.cached_teacher = std::make_unique<CachedTeacher>(
      std::move(*cache),
      rows,
      rows.hidden() ? model::load_head(session.teacher_source, dtype).to(session.device)
                    : Tensor());
}

}  // namespace sterna::run
