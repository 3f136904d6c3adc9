#include <chrono>
#include <iomanip>
#include <ostream>

#include "quant/scale.h"
#include "trainer/cli/checkpoint.h"
#include "trainer/cli/generate_files.h"
#include "trainer/eval/continue.h"
#include "trainer/model/same_tokens.h"

namespace sterna::cli {
namespace {

at::ScalarType read_dtype(const Invocation& typed) {
  const std::string dtype = typed.text("dtype", "fp32");
  if (dtype != "fp32" && dtype != "bf16")
    throw recipes::UserError("--dtype: expected fp32 or bf16, found '" + dtype + "'");
  return quant::parse_dtype(dtype);
}

eval::Sampling read_sampling(const Invocation& typed) {
  eval::Sampling sampling;
  sampling.max_new = typed.integer("max-new", 100, {1, int64_t{1} << 30});
  sampling.temperature = typed.number("temperature", 0, {0.0, 100.0});
  sampling.top_p = typed.number("top-p", 1, {0.0, 1.0});
  sampling.seed = static_cast<uint64_t>(typed.integer("seed", 0, {0, INT64_MAX}));
  return sampling;
}

int run_generate(const Invocation& typed, Streams streams) {
  using std::chrono::duration;
  using std::chrono::steady_clock;
  if (typed.has("prompt") + typed.has("prompts") + typed.has("sequences") != 1)
    throw recipes::UserError(
        "generate: give one of --prompt TEXT, --prompts FILE and --sequences N");
  const at::ScalarType dtype = read_dtype(typed);
  if (typed.has("sequences"))
    return write_sequences(typed, dtype, streams);
  if (typed.has("prompts"))
    return write_answers(typed, read_sampling(typed), dtype, streams);
  if (typed.has("out") || typed.has("as"))
    throw recipes::UserError(
        "generate: --out and --as are of --prompts and --sequences; what follows --prompt is "
        "printed");
  const eval::Sampling sampling = read_sampling(typed);
  const model::CheckpointInfo info = open_checkpoint(typed.paths.front(), streams);
  const auto tokenizer = model::open_tokenizer(info);
  const auto prompt = eval::prompt_ids(*tokenizer, typed.text("prompt"), typed.has("chat"));
  eval::require_prompt(prompt, info.config);
  const auto loaded = load_ready(info, dtype, read_weight_form(typed, model::WeightForm::kPacked));
  tell_decoded(*loaded.report, streams);

  const auto start = steady_clock::now();
  auto first = start;  // when the prompt was read
  const auto show = [&](const std::string& text) {
    if (first == start)
      first = steady_clock::now();
    streams.out << text << std::flush;
  };
  const auto made = eval::continue_prompt(loaded.decoder, *tokenizer, prompt, sampling, show);
  streams.out << "\n" << std::flush;
  const double writing = duration<double>(steady_clock::now() - first).count();
  streams.err << std::setprecision(3) << prompt.size() << " tokens read in "
              << duration<double>(first - start).count() << " s, " << made.written << " written";
  if (made.written > 1)
    streams.err << " at " << static_cast<double>(made.written - 1) / writing << " tokens/s";
  streams.err << "\n";
  return kDone;
}

}  // namespace

Command generate_command() {
  Command command;
  command.name = "generate";
  command.usage =
      "CHECKPOINT (--prompt TEXT | --prompts FILE --out FILE | --sequences N --out FILE) [--chat]";
  command.summary = "continues a prompt, answers it, or writes training data of its own";
  command.details =
      "Takes the most likely token, or samples where a temperature is given: the same seed gives\n"
      "the same text. Ends at the checkpoint's end tokens. --prompts adds to each line of JSON\n"
      "lines, under the key --as, what follows its \"prompt\". --sequences writes ids for\n"
      "data.format=tokens as LLM-QAT does: each begins with another word of the vocabulary, goes\n"
      "on with the 3 to 5 likeliest tokens, and is sampled from there.";
  command.example =
      "generate ~/.cache/sterna/models/SmolLM2-135M-Instruct.Q4_1.gguf --chat "
      "--prompt 'What is the capital of France?'";
  command.paths = {1, 1};
  command.overrides = false;
  command.flags = {
      {"prompt", "TEXT", "what to continue"},
      {"chat", "", "put the prompt into the checkpoint's chat template"},
      {"prompts", "FILE", "JSON lines of prompts to continue"},
      {"as", "KEY", "of what was written, in the lines of --out; response"},
      {"sequences", "N", "how many to write as training data"},
      {"out", "FILE", "where prompts or sequences are written; must not exist"},
      {"max-new", "N", "tokens to write at most, 100; of a sequence, 512"},
      {"temperature", "T", "sample; 0, the default but for sequences, takes the most likely"},
      {"top-p", "P", "sample among the most likely tokens that make up P"},
      {"seed", "S", "of the sampling, 0"},
      {"dtype", "D", "fp32 or bf16"},
      weights_flag()};
  command.memory_hint = "--dtype bf16 halves the weights; a shorter prompt needs a smaller cache.";
  command.run = run_generate;
  return command;
}

}  // namespace sterna::cli
