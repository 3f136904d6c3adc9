#pragma once

#include <memory>
#include <optional>
#include <string>

#include "trainer/data/samples.h"
#include "trainer/data/token_cache.h"

namespace sterna::data {

/// How samples of T inputs lie over the documents of a token cache.
class Packing {
 public:
  virtual ~Packing() = default;
  virtual int64_t size() const = 0;
  /// @param place  0 to size()-1
  /// @return  with the document of every id, T+1 of them
  virtual Sample at(int64_t place) const = 0;
  /// What became of documents that do not fit; empty where all do.
  virtual std::string note() const { return ""; }
};

/// Makes the documents of a sample those of its inputs, and takes the loss from the first token of
/// each but the first: nothing in its document foretells it.
void keep_documents_apart(Sample& sample);

/// Sample i holds tokens i*T to i*T+T: neighbours share one token and no target is lost.
std::unique_ptr<Packing> make_cut_packing(const TokenCache& tokens, int64_t seq_len);

/// Documents one after the other as long as the next one fits into T+1 tokens, then `filler`
/// without loss. A longer document is cut at its end; one without a target is left out.
/// @param tokens  must outlive the packing, here and above
std::unique_ptr<Packing> make_whole_packing(const TokenCache& tokens,
                                            int64_t seq_len,
                                            int32_t filler);

/// Documents 2i and 2i+1 in samples 2j and 2j+1, each cut at its end and filled up with `filler`
/// without loss. Left out are two that are the same, and two of which one has no target.
std::unique_ptr<Packing> make_pair_packing(const TokenCache& tokens,
                                           int64_t seq_len,
                                           int32_t filler);

}  // namespace sterna::data
