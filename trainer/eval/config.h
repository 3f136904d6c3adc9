#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "recipes/recipe.h"
#include "trainer/data/eval_text.h"
#include "trainer/eval/perplexity.h"

namespace sterna::eval {

/// `[eval]`: for `sterna eval` and for evaluations on a run's way.
struct EvalConfig {
  std::vector<std::filesystem::path> text;
  std::string separator;
  int64_t max_documents = 0;
  double held_out = 0;
  int64_t window = 1024;
  int64_t stride = 0;
  int64_t max_windows = 0;
  bool overlap_target = false;
  std::string bos = "none";
  std::string score = "all";
  int64_t batch = 0;
  std::string dtype = "fp32";
  std::filesystem::path reference;
  int64_t every = 0;
  bool before = true;
  bool after = true;
  std::vector<std::string> prompts;
  int64_t prompt_tokens = 32;

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::OneOf;
    using recipes::Range;
    const Range<int64_t> count{0, int64_t{1} << 40};
    v("text", text, "file or files, each evaluated on its own");
    v("separator", separator, "splits a file into documents; empty: the file is one text");
    v("max_documents", max_documents, "use only the first ones; 0: all", count);
    v("held_out",
      held_out,
      "evaluate only the documents that the same data.held_out keeps from training; 0: all",
      Range{0.0, 0.999});
    v("window", window, "tokens of a window", Range{int64_t{2}, int64_t{1} << 40});
    v("stride", stride, "tokens between windows; 0: the window", count);
    v("max_windows", max_windows, "evaluate the first ones; 0: all", count);
    v("overlap_target", overlap_target, "T inputs give T predictions instead of T - 1");
    v("bos", bos, "where start tokens go", OneOf{"none", "start", "document"});
    v("score", score, "all predictions, or the second half of each window", OneOf{"all", "half"});
    v("batch", batch, "windows at a time; 0: about 2,048 tokens", count);
    v("dtype", dtype, "dtype of `sterna eval`; a run computes as it trains", OneOf{"fp32", "bf16"});
    v("reference", reference, "checkpoint to measure KL divergence from; runs take their teacher");
    v("every", every, "steps between evaluations; 0: none on the way", count);
    v("before", before, "evaluate the full-precision model and the rounded one before training");
    v("after", after, "evaluate behind each stage");
    v("prompts", prompts, "what a run lets each stage continue, greedily");
    v("prompt_tokens", prompt_tokens, "new tokens behind each prompt", count);
  }

  EvalOptions options() const {
    return {window, stride, max_windows, overlap_target, parse_score(score), batch, {}};
  }

  data::EvalTextOptions text_options() const {
    data::EvalTextOptions options{text, separator, std::nullopt, data::parse_eval_bos(bos)};
    if (max_documents > 0)
      options.max_documents = max_documents;
    options.held_out = held_out;
    return options;
  }
};

}  // namespace sterna::eval
