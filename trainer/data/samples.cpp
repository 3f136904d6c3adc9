#include "trainer/data/samples.h"

#include <stdexcept>
#include <utility>

#include "recipes/paths.h"
#include "trainer/data/documents.h"
#include "trainer/data/permutation.h"
#include "trainer/data/token_cache.h"
#include "trainer/io/tensor_file.h"

namespace sterna::data {
namespace {

/// Special tokens around a document; absent where none is wanted.
struct Marks {
  std::optional<int32_t> bos;
  std::optional<int32_t> end;
};

std::optional<int32_t> start_token(const DataConfig& config, const text::Tokenizer& tokenizer) {
  const text::SpecialTokens& special = tokenizer.special();
  if (config.bos == "none" || (config.bos == "auto" && !special.add_bos)) {
    return std::nullopt;
  }
  if (!special.bos) {
    throw recipes::UserError("data.bos = \"" + config.bos +
                             "\", but the tokenizer has no start token; set data.bos=none");
  }
  return special.bos;
}

std::optional<int32_t> end_token(const DataConfig& config, const text::Tokenizer& tokenizer) {
  if (config.end == "none") {
    return std::nullopt;
  }
  if (config.end == "auto") {
    if (!tokenizer.special().eos) {
      throw recipes::UserError(
          "data.end = \"auto\", but the tokenizer has no end token; name one (data.end=\"<text>\") "
          "or set data.end=none");
    }
    return tokenizer.special().eos;
  }
  const std::vector<int32_t> ids = tokenizer.encode(config.end);
  if (ids.size() != 1) {
    throw recipes::UserError("data.end = \"" + config.end + "\" is " + std::to_string(ids.size()) +
                             " tokens, not one");
  }
  return ids[0];
}

DocumentOptions document_options(const DataConfig& config) {
  DocumentOptions options;
  options.files = config.text;
  options.format = config.format;
  options.field = config.field;
  options.separator = config.separator;
  options.strip = config.strip;
  if (config.max_documents > 0) {
    options.max_documents = config.max_documents;
  }
  return options;
}

// Everything that decides the ids, each part behind its length.
std::string cache_key(const DataConfig& config,
                      const text::Tokenizer& tokenizer,
                      const Marks& marks) {
  io::Sha256 hash;
  for (const std::string& part : {content_hash(config.text),
                                  tokenizer.fingerprint(),
                                  config.format,
                                  config.field,
                                  config.separator,
                                  std::string(config.strip ? "strip" : "keep"),
                                  std::to_string(config.max_documents),
                                  std::to_string(marks.bos.value_or(-1)),
                                  std::to_string(marks.end.value_or(-1))}) {
    hash.update(std::to_string(part.size()) + ":" + part);
  }
  return hash.hex();
}

void build_cache(const std::filesystem::path& path,
                 const std::string& key,
                 const DataConfig& config,
                 const text::Tokenizer& tokenizer,
                 const Marks& marks) {
  std::filesystem::create_directories(path.parent_path());
  TokenCacheWriter writer(path, key, tokenizer.vocab_size());
  std::vector<int32_t> ids;
  for_each_document(document_options(config), [&](std::string_view document) {
    ids.clear();
    if (marks.bos) {
      ids.push_back(*marks.bos);
    }
    const std::vector<int32_t> part = tokenizer.encode(document);
    ids.insert(ids.end(), part.begin(), part.end());
    if (marks.end) {
      ids.push_back(*marks.end);
    }
    writer.add_document(ids);
  });
  writer.commit();
}

struct OpenCache {
  std::unique_ptr<TokenCache> tokens;
  std::string note;
};

OpenCache open_cache(const std::filesystem::path& path,
                     const std::string& key,
                     const std::function<void()>& build) {
  std::string note;
  if (std::filesystem::exists(path)) {
    try {
      return {std::make_unique<TokenCache>(path, key), ""};
    } catch (const io::FileError& error) {
      note = std::string("token cache damaged and made anew: ") + error.what();
    }
  }
  build();
  auto tokens = std::make_unique<TokenCache>(path, key);
  if (note.empty()) {
    note = "token cache made: " + std::to_string(tokens->size()) + " tokens of " +
           std::to_string(tokens->documents()) + " documents in " + path.string();
  }
  return {std::move(tokens), std::move(note)};
}

class PackedText final : public SampleSource {
 public:
  PackedText(OpenCache cache, std::string key, int64_t seq_len, int64_t seed, bool shuffle)
      : tokens_(std::move(cache.tokens)),
        note_(std::move(cache.note)),
        key_(std::move(key)),
        seq_len_(seq_len),
        seed_(seed),
        shuffle_(shuffle) {}

  int64_t size() const override { return (tokens_->size() - 1) / seq_len_; }
  int64_t tokens() const override { return tokens_->size(); }
  const std::string& fingerprint() const override { return key_; }
  const std::string& note() const override { return note_; }

  Sample at(int64_t index) const override {
    if (index < 0) {
      throw std::out_of_range("SampleSource: index " + std::to_string(index));
    }
    int64_t place = index % size();
    if (shuffle_) {
      place = Permutation(size(), seed_, index / size()).at(place);
    }
    Sample sample;
    for (int64_t i = 0; i <= seq_len_; ++i) {
      sample.ids.push_back(tokens_->at(place * seq_len_ + i));
    }
    sample.loss.assign(static_cast<size_t>(seq_len_), 1);
    return sample;
  }

 private:
  std::unique_ptr<TokenCache> tokens_;
  std::string note_;
  std::string key_;
  int64_t seq_len_;
  int64_t seed_;
  bool shuffle_;
};

}  // namespace

std::unique_ptr<SampleSource> open_samples(recipes::Section data,
                                           const text::Tokenizer& tokenizer,
                                           int64_t seq_len,
                                           int64_t seed) {
  const auto config = data.read<DataConfig>();
  if (config.text.empty()) {
    data.fail("text", "expected a file or a list of files to train on");
  }
  if (seq_len < 1) {
    throw std::invalid_argument("open_samples: seq_len must be at least 1");
  }
  const Marks marks{start_token(config, tokenizer), end_token(config, tokenizer)};
  const std::string key = cache_key(config, tokenizer, marks);
  const std::filesystem::path folder =
      config.cache.empty() ? recipes::cache_dir() / "tokens" : config.cache;
  const std::filesystem::path path = folder / (key.substr(0, 32) + ".tokens");
  OpenCache cache =
      open_cache(path, key, [&] { build_cache(path, key, config, tokenizer, marks); });
  if (cache.tokens->size() <= seq_len) {
    data.fail("text",
              "the text is " + std::to_string(cache.tokens->size()) +
                  " tokens long, a sample needs " + std::to_string(seq_len + 1) +
                  "; give more text or lower train.seq_len");
  }
  return std::make_unique<PackedText>(std::move(cache), key, seq_len, seed, config.shuffle);
}

std::string show_sample(const Sample& sample, const text::Tokenizer& tokenizer) {
  std::string shown;
  for (size_t begin = 0; begin < sample.ids.size();) {
    const auto target = [&](size_t i) { return i > 0 && sample.loss.at(i - 1) != 0; };
    size_t end = begin + 1;
    while (end < sample.ids.size() && target(end) == target(begin)) {
      ++end;
    }
    const std::string part = tokenizer.decode(std::span(sample.ids).subspan(begin, end - begin));
    shown += target(begin) ? part : "[[" + part + "]]";
    begin = end;
  }
  return shown;
}

}  // namespace sterna::data
