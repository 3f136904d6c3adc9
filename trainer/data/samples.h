#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/text/tokenizer.h"

namespace sterna::data {

/// A training sample: T+1 ids, so T inputs and T targets, and which targets carry loss. Sample i
/// of the packed text holds tokens i*T to i*T+T: neighbours share one token and no target is lost.
struct Sample {
  std::vector<int32_t> ids;   ///< T + 1
  std::vector<uint8_t> loss;  ///< T; 1 where ids[i + 1] is a target
};

/// Packed samples of a tokenized text. The order is a pure function of (seed, epoch, global sample
/// index): it knows neither ranks nor where a run was resumed.
class SampleSource {
 public:
  virtual ~SampleSource() = default;

  /// Samples of one epoch.
  virtual int64_t size() const = 0;

  /// @param index  global sample index, 0, 1, 2, ...; epochs follow each other
  virtual Sample at(int64_t index) const = 0;

  /// Tokens of one epoch.
  virtual int64_t tokens() const = 0;

  /// SHA-256 over content, tokenizer and options, as in the cache's name.
  virtual const std::string& fingerprint() const = 0;

  /// What a person should be told about the token cache ("built", "damaged: rebuilt"); empty where
  /// it was simply used.
  virtual const std::string& note() const = 0;
};

/// The keys of a recipe's `[data]`.
struct DataConfig {
  std::vector<std::filesystem::path> text;
  std::string format = "text";
  std::string field = "text";
  std::string separator;
  bool strip = true;
  std::string bos = "auto";
  std::string end = "auto";
  int64_t max_documents = 0;
  bool shuffle = true;
  std::filesystem::path cache;

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::OneOf;
    using recipes::Range;
    v("text", text, "file or files of text to train on");
    v("format", format, "text, or one JSON object a line", OneOf{"text", "jsonl"});
    v("field", field, "key of a jsonl object that holds the text");
    v("separator", separator, "splits a text file into documents; empty: the file is one");
    v("strip", strip, "drop white space around documents");
    v("bos",
      bos,
      "start token of documents; auto: as the tokenizer says",
      OneOf{"auto", "none", "document"});
    v("end", end, "end token of documents: auto (the tokenizer's), none, or a token's text");
    v("max_documents",
      max_documents,
      "use only the first ones; 0: all",
      Range<int64_t>{0, int64_t{1} << 62});
    v("shuffle", shuffle, "visit samples in another order in every epoch");
    v("cache", cache, "folder of token caches; empty: $STERNA_CACHE/tokens");
  }
};

/// Text of a sample in which stretches that carry no loss stand between [[ and ]]. The first id is
/// never a target.
std::string show_sample(const Sample& sample, const text::Tokenizer& tokenizer);

/// Opens the recipe's `[data]`: tokenizes once into a memory-mapped cache (keyed by content,
/// tokenizer, separator and start/end rules), then maps it.
/// @param seq_len  T
/// @throws recipes::UserError  no text, too little of it for one sample, no such special token
std::unique_ptr<SampleSource> open_samples(recipes::Section data,
                                           const text::Tokenizer& tokenizer,
                                           int64_t seq_len,
                                           int64_t seed);

}  // namespace sterna::data
