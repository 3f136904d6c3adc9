#include <iomanip>
#include <ostream>

#include <nlohmann/json.hpp>

#include "trainer/cli/command.h"
#include "trainer/eval/config.h"
#include "trainer/io/atomic_file.h"
#include "trainer/model/load.h"

namespace sterna::cli {
namespace {

// Keys outside [eval] may stand in a recipe, which is usually a training run's; on the command
// line they would be a mistake.
eval::EvalConfig read_config(const Invocation& typed) {
  recipes::Recipe recipe = open_recipe(typed);
  for (const auto& path : typed.recipes) {
    for (const std::string& table : recipes::Recipe::load(path).root().keys()) {
      if (table != "eval")
        recipe.ignore(table);
    }
  }
  const auto config = recipe.section("eval").read<eval::EvalConfig>();
  recipe.reject_unknown();
  if (config.text.empty())
    throw recipes::UserError("eval: no text to evaluate on; give eval.text=FILE");
  return config;
}

void print(const eval::EvalResult& result, std::ostream& out) {
  out << std::setprecision(6) << "perplexity " << result.ppl << " +- " << std::setprecision(3)
      << result.ppl_stderr << std::setprecision(7) << "  (" << result.nll << " nats a token, "
      << result.predicted_tokens << " predictions in windows of " << result.window << ", "
      << std::setprecision(3) << result.seconds << " s)\n";
  if (!result.divergence)
    return;
  const eval::Divergence& d = *result.divergence;
  out << std::setprecision(4) << "KL divergence from the reference: mean " << d.mean << ", median "
      << d.median << ", 95 % " << d.p95 << ", 99 % " << d.p99 << ", 99.9 % " << d.p999 << ", max "
      << d.max << "\nsame most likely token " << 100 * d.same_top << " %, perplexity ratio "
      << d.ppl_ratio << "\n";
}

int run(const Invocation& typed, Streams streams) {
  const eval::EvalConfig config = read_config(typed);
  const at::ScalarType dtype = config.dtype == "bf16" ? at::kBFloat16 : at::kFloat;
  const model::CheckpointInfo info = model::inspect(typed.paths.front());
  const auto ids =
      data::read_eval_ids(config.text_options(), *text::open_tokenizer(info.tokenizer_path));
  const model::Decoder decoder = model::load_decoder(info, dtype);
  std::optional<model::Decoder> reference;
  if (!config.reference.empty())
    reference = model::load_decoder(model::inspect(config.reference), dtype);
  const eval::EvalResult result =
      eval::evaluate(decoder, ids, config.options(), reference ? &*reference : nullptr);
  print(result, streams.out);
  if (typed.has("json"))
    io::write_atomically(typed.text("json"),
                         eval::to_json(result, {{"bos", config.bos}, {"dtype", config.dtype}}));
  return kDone;
}

}  // namespace

Command eval_command() {
  Command command;
  command.name = "eval";
  command.usage = "CHECKPOINT [RECIPE.toml] eval.text=FILE [eval.key=value]...";
  command.summary = "perplexity of a checkpoint on a text, and KL divergence from another";
  command.details =
      "Cuts the text into windows of eval.window tokens (T inputs give T-1 predictions, or T with\n"
      "eval.overlap_target=true). Further keys: separator, max_documents, stride, max_windows, "
      "bos\n"
      "(none, start, document), score (all, half), batch, dtype (fp32, bf16), reference (a second\n"
      "checkpoint: adds KL divergence and agreement, as llama.cpp's perplexity tool lists them).";
  command.example =
      "eval ~/.cache/sterna/models/SmolLM2-135M-Instruct.Q4_1.gguf eval.text=README.md "
      "eval.window=256 eval.max_windows=2";
  command.paths = {1, 1};
  command.recipes = {0, 8};
  command.flags = {{"json", "FILE", "writes the result as one JSON object"}};
  command.run = run;
  return command;
}

}  // namespace sterna::cli
