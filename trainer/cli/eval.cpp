#include <iomanip>
#include <optional>
#include <ostream>
#include <span>

#include <nlohmann/json.hpp>

#include "quant/scale.h"
#include "recipes/blame.h"
#include "trainer/cli/checkpoint.h"
#include "trainer/cli/heap.h"
#include "trainer/eval/texts.h"
#include "trainer/io/atomic_file.h"
#include "trainer/model/same_tokens.h"

namespace sterna::cli {
namespace {

eval::EvalConfig read_config(recipes::Recipe& recipe) {
  recipes::ignore_other_tables(recipe, {"eval", "act"});
  const auto config = recipe.section("eval").read<eval::EvalConfig>();
  read_activations(recipe);
  recipe.reject_unknown();
  if (config.text.empty())
    throw recipes::UserError("eval: no text to evaluate on; give eval.text=FILE");
  return config;
}

void print(const std::string& text, const eval::EvalResult& result, std::ostream& out) {
  out << text << ": perplexity " << std::setprecision(6) << result.ppl << " +- "
      << std::setprecision(3) << result.ppl_stderr << std::setprecision(7) << "  (" << result.nll
      << " nats a token, " << result.predicted_tokens << " predictions in windows of "
      << result.window << ", " << std::setprecision(3) << result.seconds << " s)\n";
  if (result.not_finite > 0)
    out << "  WARNING: " << result.not_finite
        << " predictions are NaN or Inf: the weights are damaged, or eval.dtype is too small\n";
  if (!result.divergence)
    return;
  const eval::Divergence& d = *result.divergence;
  out << std::setprecision(4) << "  KL divergence from the reference: mean " << d.mean
      << ", median " << d.median << ", 95 % " << d.p95 << ", 99 % " << d.p99 << ", 99.9 % "
      << d.p999 << ", max " << d.max << "\n  same most likely token " << 100 * d.same_top
      << " %, perplexity ratio " << d.ppl_ratio << "\n";
}

/// Everything that can be wrong shows here, before weights are read.
struct Job {
  model::CheckpointInfo model;
  std::optional<model::CheckpointInfo> reference;
  std::vector<eval::EvalText> texts;
};

Job prepare(const Invocation& typed,
            recipes::Recipe& recipe,
            const eval::EvalConfig& config,
            Streams streams) {
  Job job;
  const recipes::Section section = recipe.section("eval");
  job.model = open_checkpoint(typed.paths.front(), streams);
  const auto tokenizer = model::open_tokenizer(job.model);
  job.texts = recipes::blame_on(
      section, "text", [&] { return eval::read_texts(config, *tokenizer, job.model.config); });
  if (config.reference.empty())
    return job;
  recipes::blame_on(section, "reference", [&] {
    job.reference = open_checkpoint(config.reference, streams);
    model::require_same_tokens(job.model, *tokenizer, *job.reference, "eval.reference");
    for (const eval::EvalText& text : job.texts)
      eval::require_windows(
          static_cast<int64_t>(text.ids.size()), config.options(), job.reference->config);
  });
  return job;
}

/// One object for one text, JSON lines for several.
void write_json(io::AtomicFile& file, const std::vector<nlohmann::ordered_json>& results) {
  std::string lines;
  for (const nlohmann::ordered_json& result : results)
    lines += result.dump(results.size() == 1 ? 2 : -1) + "\n";
  file.write(std::as_bytes(std::span(lines)));
  file.commit();
}

int run_eval(const Invocation& typed, Streams streams) {
  const model::WeightForm form = read_weight_form(typed, model::WeightForm::kStreamed);
  if (form == model::WeightForm::kStreamed)
    return_large_blocks();  // each block's weights come and go
  recipes::Recipe recipe = open_recipe(typed);
  const eval::EvalConfig config = read_config(recipe);
  const Job job =
      recipes::at_its_key(recipe, [&] { return prepare(typed, recipe, config, streams); });
  const at::ScalarType dtype = quant::parse_dtype(config.dtype);
  std::optional<io::AtomicFile> json;
  if (typed.has("json"))
    json.emplace(typed.text("json"));  // a folder that is not there shows before the work
  const auto activations = read_activations(recipe);
  if (activations) {
    model::Decoder shapes(job.model.config, dtype);  // a rule that matches nothing shows here
    model::attach_activations(shapes, *activations);
  }
  model::AnsweringModel loaded = model::load_answering(job.model, dtype, form);
  model::Decoder& decoder = loaded.decoder;
  if (activations)
    model::replace_activations(decoder, *activations);
  else
    model::require_ready(decoder);
  std::optional<model::AnsweringModel> reference;
  if (job.reference)
    reference = load_ready(*job.reference, dtype, form);
  std::vector<nlohmann::ordered_json> results;
  for (const eval::EvalText& text : job.texts) {
    const eval::EvalResult result = eval::evaluate(
        decoder, text.ids, config.options(), reference ? &reference->decoder : nullptr);
    print(text.name, result, streams.out);
    streams.out << std::flush;
    results.push_back(eval::to_json(result,
                                    {{"text", text.name},
                                     {"bos", config.bos},
                                     {"dtype", config.dtype},
                                     {"packed_matrices", loaded.report->packed.size()},
                                     {"decoded_matrices", loaded.report->decoded.size()}}));
  }
  tell_decoded(*loaded.report, streams);
  if (json)
    write_json(*json, results);
  return kDone;
}

}  // namespace

Command eval_command() {
  Command command;
  command.name = "eval";
  command.usage = "CHECKPOINT [RECIPE.toml] eval.text=FILE [eval.key=value]...";
  command.summary = "perplexity of a checkpoint on a text, and KL divergence from another";
  command.details =
      "Evaluates each text of eval.text on its own. Cuts it into windows of eval.window tokens (T\n"
      "inputs give T-1 predictions, or T with eval.overlap_target=true). Further keys: separator, "
      "max_documents, stride, max_windows, "
      "bos\n"
      "(none, start, document), score (all, half), batch, dtype (fp32, bf16), reference (a second\n"
      "checkpoint: adds KL divergence and agreement, as llama.cpp's perplexity tool lists them).\n"
      "Activations are rounded as the checkpoint says; an [act] of the recipe stands in for that:\n"
      "act.input=per_token act.key=none ...\n"
      "Of an export in layout sterna the codes themselves are multiplied, each block's read from\n"
      "the file when it computes: the model may be larger than memory.";
  command.example =
      "eval ~/.cache/sterna/models/SmolLM2-135M-Instruct.Q4_1.gguf eval.text=README.md "
      "eval.window=256 eval.max_windows=2";
  command.paths = {1, 1};
  command.recipes = {0, 8};
  command.flags = {{"json", "FILE", "writes one JSON object, or a line each for several texts"},
                   weights_flag()};
  command.memory_hint =
      "eval.dtype=bf16 halves the weights, eval.batch=1 and a smaller eval.window the rest; "
      "eval.reference keeps a second model.";
  command.run = run_eval;
  return command;
}

}  // namespace sterna::cli
