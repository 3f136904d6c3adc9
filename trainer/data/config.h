#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "recipes/recipe.h"

namespace sterna::data {

/// What one source of training tokens is made of: the keys of a recipe's `[data]`, or of one
/// `[[data.blend]]`.
struct SourceConfig {
  std::vector<std::filesystem::path> text;
  std::string format = "text";
  std::string field;
  std::string prompt = "prompt";
  std::string response = "response";
  std::string chosen = "chosen";
  std::string rejected = "rejected";
  std::string turns = "plain";
  std::string dtype = "uint16";
  std::string separator;
  bool strip = true;
  std::string bos = "auto";
  std::string end = "auto";
  int64_t max_documents = 0;
  double held_out = 0;
  std::string part = "train";
  std::string packing = "auto";
  std::string document_mask = "auto";
  bool shuffle = true;
  std::filesystem::path cache;

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::OneOf;
    using recipes::Range;
    v("text", text, "file or files to train on");
    v("format",
      format,
      "text; one JSON object a line: jsonl (text), chat (messages), pairs (prompt and response), "
      "preference (prompt, chosen and rejected); tokens: ids in binary",
      OneOf{"text", "jsonl", "chat", "pairs", "preference", "tokens"});
    v("field", field, "key of the text (jsonl) or of the messages (chat); empty: text, messages");
    v("prompt", prompt, "key of what is answered, which carries no loss");
    v("response", response, "key of a pair's second half, which carries the loss");
    v("chosen", chosen, "preference: key of the better answer");
    v("rejected", rejected, "preference: key of the other");
    v("turns",
      turns,
      "pairs and preference: plain, one behind the other; chat: as a user's and an assistant's "
      "turn",
      OneOf{"plain", "chat"});
    v("dtype", dtype, "of the ids of format tokens, little-endian", OneOf{"uint16", "uint32"});
    v("separator", separator, "splits a text file into documents; empty: the file is one");
    v("strip", strip, "drop white space around documents");
    v("bos",
      bos,
      "start token of documents; auto: as the tokenizer says",
      OneOf{"auto", "none", "document"});
    v("end",
      end,
      "end token of documents: auto (the tokenizer's), none, or a token's text; in format tokens "
      "it "
      "is there already");
    v("max_documents",
      max_documents,
      "use only the first ones; 0: all",
      Range<int64_t>{0, int64_t{1} << 62});
    v("held_out",
      held_out,
      "share of the documents, chosen by their hash, that is kept from training",
      Range{0.0, 0.999});
    v("part", part, "which side of held_out this is", OneOf{"train", "held_out"});
    v("packing",
      packing,
      "cut: samples follow each other through documents; whole: no document goes on in another "
      "sample, the rest is filled; auto: whole for chat and pairs",
      OneOf{"auto", "cut", "whole"});
    v("document_mask",
      document_mask,
      "documents of one sample do not see each other; auto: where they are packed whole",
      OneOf{"auto", "on", "off"});
    v("shuffle", shuffle, "visit samples in another order in every epoch");
    v("cache", cache, "folder of token caches; empty: $STERNA_CACHE/tokens");
  }

  /// Without loss on what another side said.
  bool masked() const { return format == "chat" || format == "pairs" || preference(); }
  /// Two answers to one prompt, each in a sample of its own.
  bool preference() const { return format == "preference"; }
  bool whole_documents() const {
    return !preference() && (packing == "whole" || (packing == "auto" && masked()));
  }
  bool documents_apart() const {
    return document_mask == "on" || (document_mask == "auto" && whole_documents());
  }
};

/// A source and its share of the samples.
struct BlendPart : SourceConfig {
  double weight = 1;

  template <class Visitor>
  void fields(Visitor& v) {
    v("weight", weight, "share of the samples, relative to the others", recipes::Range{1e-6, 1e6});
    SourceConfig::fields(v);
  }
};

/// A recipe's `[data]`; keys that a blend's part leaves out are those of `[data]`.
struct DataConfig : SourceConfig {
  std::vector<BlendPart> blend;
};

DataConfig read_config(recipes::Section data);

}  // namespace sterna::data
