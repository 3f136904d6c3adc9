#include "trainer/data/token_making.h"

#include <chrono>

#include "trainer/data/samples.h"
#include "trainer/data/token_cache.h"
#include "trainer/data/token_documents.h"

namespace sterna::data {
namespace {

namespace fs = std::filesystem;

/// 0 where there is nothing to share out, or somebody else is going to say what is wrong.
uint64_t bytes_to_share(const SourceConfig& config) {
  // The first documents are counted from the start, and ids are no text.
  if (config.max_documents > 0 || config.format == "tokens")
    return 0;
  uint64_t bytes = 0;
  for (const fs::path& file : config.text) {
    std::error_code unknown;
    const uint64_t size = fs::file_size(file, unknown);
    if (unknown)
      return 0;
    bytes += size;
  }
  return bytes;
}

fs::path part_of(const fs::path& path, int64_t rank, int64_t size) {
  return path.string() + ".part-" + std::to_string(rank) + "-of-" + std::to_string(size);
}

void copy_documents(const TokenCache& from, TokenCacheWriter& to) {
  std::vector<int32_t> ids;
  std::vector<uint8_t> loss;
  int64_t at = 0;
  for (int64_t document = 0; document < from.documents(); ++document) {
    ids.clear();
    loss.clear();
    for (const int64_t end = from.end_of(document); at < end; ++at) {
      ids.push_back(from.at(at));
      if (from.masked())
        loss.push_back(from.is_target(at) ? 1 : 0);
    }
    to.add_document(ids, loss);
  }
}

void join(const fs::path& path, const Tokenizing& what, const Crew& crew) {
  TokenCacheWriter writer(path, what.key, what.tokenizer.vocab_size());
  for (int64_t rank = 0; rank < crew.size; ++rank) {
    if (crew.between)
      crew.between();
    copy_documents(TokenCache(part_of(path, rank, crew.size), what.key), writer);
  }
  writer.commit();
}

/// Parts that a killed process has left, and what it was writing of them. A text may be made by
/// another job at the same time: what was written to of late is left alone.
void sweep_parts(const fs::path& path) {
  constexpr auto kAbandoned = std::chrono::hours(1);
  const std::string parts = path.filename().string() + ".part-";
  std::error_code error;
  std::vector<fs::path> found;
  for (fs::directory_iterator each(path.parent_path(), error), end; !error && each != end;
       each.increment(error))
    if (each->path().filename().string().find(parts) != std::string::npos)
      found.push_back(each->path());
  for (const fs::path& each : found) {
    const auto written = fs::last_write_time(each, error);
    if (!error && fs::file_time_type::clock::now() - written > kAbandoned)
      fs::remove(each, error);
  }
}

/// A file that goes when the object does.
struct Passing {
  fs::path path;
  ~Passing() {
    std::error_code gone;
    fs::remove(path, gone);
  }
};

/// @return  what to tell; empty where the parts do not all lie in one folder
std::string make_by_all(const fs::path& path,
                        const Tokenizing& what,
                        const Crew& crew,
                        uint64_t bytes) {
  const auto ranks = static_cast<uint64_t>(crew.size);
  const auto border = [&](int64_t rank) {
    const auto r = static_cast<uint64_t>(rank);
    return bytes / ranks * r + bytes % ranks * r / ranks;
  };
  const Passing own{part_of(path, crew.rank, crew.size)};
  crew.together([&] {
    make_token_cache(own.path, what, {border(crew.rank), border(crew.rank + 1)});
  });
  const bool joined = crew.as_first([&] {
    for (int64_t rank = 0; rank < crew.size; ++rank)
      if (!fs::exists(part_of(path, rank, crew.size)))
        return false;
    return true;
  });
  crew.together([&] {
    if (joined && crew.rank == 0)
      join(path, what, crew);
  });
  return joined ? "token cache made by " + std::to_string(crew.size) + " ranks: " + path.string()
                : "";
}

}  // namespace

void make_token_cache(const fs::path& path, const Tokenizing& what, const ByteRange& part) {
  fs::create_directories(path.parent_path());
  TokenCacheWriter writer(path, what.key, what.tokenizer.vocab_size());
  for_each_tokens(
      what.config,
      what.tokenizer,
      [&](const TokenDocument& document) {
        if (what.between)
          what.between();
        writer.add_document(document.ids, document.loss);
      },
      part);
  writer.commit();
}

std::vector<std::string> tokenize_together(const DataConfig& config,
                                           const text::Tokenizer& tokenizer,
                                           const Crew& crew) {
  std::vector<std::string> notes;
  if (crew.size == 1)
    return notes;
  std::vector<const SourceConfig*> sources;
  for (const BlendPart& part : config.blend)
    sources.push_back(&part);
  if (sources.empty())
    sources.push_back(&config);
  for (const SourceConfig* source : sources) {
    const uint64_t bytes = bytes_to_share(*source);
    const bool wanted = crew.as_first([&] {
      if (bytes < std::max<uint64_t>(crew.least_bytes, 1))
        return false;
      const fs::path path = token_cache_path(*source, tokens_key(*source, tokenizer));
      sweep_parts(path);
      return !fs::exists(path);
    });
    if (!wanted)
      continue;
    const std::string key = tokens_key(*source, tokenizer);
    const std::string note = make_by_all(
        token_cache_path(*source, key), {*source, tokenizer, key, crew.between}, crew, bytes);
    if (!note.empty())
      notes.push_back(note);
  }
  return notes;
}

}  // namespace sterna::data
