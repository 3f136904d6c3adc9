#include "trainer/data/samples.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "recipes/paths.h"
#include "trainer/data/blend.h"
#include "trainer/data/packing.h"
#include "trainer/data/permutation.h"
#include "trainer/data/token_cache.h"
#include "trainer/data/token_documents.h"
#include "trainer/data/token_making.h"
#include "trainer/io/tensor_file.h"

namespace sterna::data {
namespace {

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
  PackedText(OpenCache cache, std::string key, int64_t seed, const SourceConfig& config)
      : tokens_(std::move(cache.tokens)),
        note_(std::move(cache.note)),
        key_(std::move(key)),
        seed_(seed),
        shuffle_(config.shuffle),
        apart_(config.documents_apart()),
        together_(config.preference() ? 2 : 1) {}

  const TokenCache& cache() const { return *tokens_; }

  void set_packing(std::unique_ptr<Packing> packing) {
    packing_ = std::move(packing);
    if (const std::string more = packing_->note(); !more.empty())
      note_ += (note_.empty() ? "" : "\n") + more;
  }

  int64_t size() const override { return packing_->size(); }
  int64_t tokens() const override { return tokens_->size(); }
  int64_t together() const override { return together_; }
  const std::string& fingerprint() const override { return key_; }
  const std::string& note() const override { return note_; }

  Sample at(int64_t index) const override {
    if (index < 0) {
      throw std::out_of_range("SampleSource: index " + std::to_string(index));
    }
    int64_t place = index % size();
    if (shuffle_) {
      const Permutation order(size() / together_, seed_, index / size());
      place = order.at(place / together_) * together_ + place % together_;
    }
    Sample sample = packing_->at(place);
    if (apart_) {
      keep_documents_apart(sample);
    } else {
      sample.documents.clear();
    }
    return sample;
  }

 private:
  std::unique_ptr<TokenCache> tokens_;
  std::unique_ptr<Packing> packing_;
  std::string note_;
  std::string key_;
  int64_t seed_;
  bool shuffle_;
  bool apart_;
  int64_t together_;
};

/// What several sources of one blend have in common.
struct Opening {
  const text::Tokenizer& tokenizer;
  int64_t seq_len;
  int64_t seed;
  std::function<void()> between;
};

struct Rows {
  int64_t seq_len;
  int32_t filler;
};

std::unique_ptr<Packing> pack(const SourceConfig& config, const TokenCache& tokens, Rows rows) {
  if (config.preference())
    return make_pair_packing(tokens, rows.seq_len, rows.filler);
  if (config.whole_documents())
    return make_whole_packing(tokens, rows.seq_len, rows.filler);
  return make_cut_packing(tokens, rows.seq_len);
}

std::unique_ptr<SampleSource> open_source(const recipes::Section& section,
                                          const SourceConfig& config,
                                          const Opening& opening) {
  if (config.text.empty()) {
    section.fail("text", "expected a file or a list of files to train on");
  }
  if (config.preference() && config.packing != "auto") {
    section.fail("packing", "each answer is a sample of its own where format is preference");
  }
  if (config.part == "held_out" && config.held_out <= 0) {
    section.fail("part", "expected held_out to say how large the held-out part is, found 0");
  }
  const std::string key = tokens_key(config, opening.tokenizer);
  const std::filesystem::path path = token_cache_path(config, key);
  OpenCache cache = open_cache(path, key, [&] {
    make_token_cache(path, {config, opening.tokenizer, key, opening.between});
  });
  auto source = std::make_unique<PackedText>(std::move(cache), key, opening.seed, config);
  const text::SpecialTokens& special = opening.tokenizer.special();
  const int32_t filler = special.pad.value_or(special.eos.value_or(0));
  source->set_packing(pack(config, source->cache(), {opening.seq_len, filler}));
  if (source->size() < 1) {
    section.fail("text",
                 "the text is " + std::to_string(source->tokens()) +
                     " tokens long, a sample needs " + std::to_string(opening.seq_len + 1) +
                     (config.masked() ? " and something to predict" : "") +
                     "; give more text or lower train.seq_len");
  }
  return source;
}

}  // namespace

DataConfig read_config(recipes::Section data) {
  DataConfig config;
  static_cast<SourceConfig&>(config) = data.read<SourceConfig>();
  for (recipes::Section section : data.tables("blend")) {
    BlendPart part;
    static_cast<SourceConfig&>(part) = config;
    part.fields(section);
    config.blend.push_back(std::move(part));
  }
  return config;
}

std::filesystem::path token_cache_path(const SourceConfig& config, const std::string& key) {
  const std::filesystem::path folder =
      config.cache.empty() ? recipes::cache_dir() / "tokens" : config.cache;
  return folder / (key.substr(0, 32) + ".tokens");
}

std::unique_ptr<SampleSource> open_samples(recipes::Section data,
                                           const text::Tokenizer& tokenizer,
                                           int64_t seq_len,
                                           int64_t seed,
                                           const std::function<void()>& between) {
  if (seq_len < 1) {
    throw std::invalid_argument("open_samples: seq_len must be at least 1");
  }
  const DataConfig config = read_config(data);
  if (config.blend.empty())
    return open_source(data, config, {tokenizer, seq_len, seed, between});
  std::vector<double> weights;
  for (const BlendPart& part : config.blend)
    weights.push_back(part.weight);
  const std::vector<int64_t> counts = blend_counts(weights);
  std::vector<BlendShare> shares;
  const std::vector<recipes::Section> sections = data.tables("blend");
  for (size_t i = 0; i < sections.size(); ++i) {
    if (counts[i] < 1) {
      sections[i].fail("weight",
                       "less than one sample of " + std::to_string(kBlendBlock) +
                           " would come from here; raise it or leave the part out");
    }
    if (config.blend[i].preference()) {
      sections[i].fail("format", "a blend would part the two answers; expected another format");
    }
    if (config.blend[i].documents_apart() != config.blend[0].documents_apart()) {
      sections[i].fail(
          "document_mask",
          "some parts of the blend keep documents apart and some do not; set it to on or "
          "off in [data]");
    }
    // The same text in two parts is not to come in the same order.
    const Opening opening{tokenizer, seq_len, seed + static_cast<int64_t>(i), between};
    shares.push_back({open_source(sections[i], config.blend[i], opening), counts[i]});
  }
  return make_blend(std::move(shares), seed);
}

std::string show_sample(const Sample& sample, const text::Tokenizer& tokenizer) {
  const auto target = [&](size_t i) { return i > 0 && sample.loss.at(i - 1) != 0; };
  // The last id is no input; it belongs to the document that foretells it.
  const auto document = [&](size_t i) {
    return sample.documents.empty() ? 0
                                    : sample.documents[std::min(i, sample.documents.size() - 1)];
  };
  std::string shown;
  for (size_t begin = 0; begin < sample.ids.size();) {
    size_t end = begin + 1;
    while (end < sample.ids.size() && target(end) == target(begin) &&
           document(end) == document(begin)) {
      ++end;
    }
    if (begin > 0 && document(begin) != document(begin - 1))
      shown += "\n=====\n";
    const std::span<const int32_t> ids = std::span(sample.ids).subspan(begin, end - begin);
    const bool filler =
        ids.size() > 3 && !target(begin) &&
        std::all_of(ids.begin(), ids.end(), [&](int32_t id) { return id == ids[0]; });
    const std::string part =
        filler ? tokenizer.decode(ids.first(1)) + " x " + std::to_string(end - begin)
               : tokenizer.decode(ids);
    shown += target(begin) ? part : "[[" + part + "]]";
    begin = end;
  }
  return shown;
}

}  // namespace sterna::data
