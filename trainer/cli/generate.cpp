#include "trainer/eval/generate.h"

#include <chrono>
#include <iomanip>
#include <ostream>

#include "trainer/cli/command.h"
#include "trainer/model/load.h"
#include "trainer/text/chat.h"
#include "trainer/text/stream.h"

namespace sterna::cli {
namespace {

// What the checkpoint's tokenizer makes of a prompt; a chat template writes its own start token.
std::vector<int32_t> prompt_ids(const Invocation& typed, const text::Tokenizer& tokenizer) {
  const std::string prompt = typed.text("prompt");
  if (typed.has("chat")) {
    const text::ChatMessage message{"user", prompt};
    return tokenizer.encode(
        text::render_chat(tokenizer, {&message, 1}, /*add_generation_prompt=*/true));
  }
  std::vector<int32_t> ids = tokenizer.encode(prompt);
  if (tokenizer.special().add_bos && tokenizer.special().bos)
    ids.insert(ids.begin(), *tokenizer.special().bos);
  return ids;
}

eval::Sampling read_sampling(const Invocation& typed) {
  eval::Sampling sampling;
  sampling.max_new = typed.integer("max-new", 100, {1, int64_t{1} << 30});
  sampling.temperature = typed.number("temperature", 0, {0.0, 100.0});
  sampling.top_p = typed.number("top-p", 1, {0.0, 1.0});
  sampling.seed = static_cast<uint64_t>(typed.integer("seed", 0, {0, INT64_MAX}));
  return sampling;
}

int run(const Invocation& typed, Streams streams) {
  if (!typed.has("prompt"))
    throw recipes::UserError("generate: give --prompt TEXT");
  const std::string dtype = typed.text("dtype", "fp32");
  if (dtype != "fp32" && dtype != "bf16")
    throw recipes::UserError("--dtype: expected fp32 or bf16, found '" + dtype + "'");
  const eval::Sampling sampling = read_sampling(typed);
  const model::CheckpointInfo info = model::inspect(typed.paths.front());
  const auto tokenizer = text::open_tokenizer(info.tokenizer_path);
  const std::vector<int32_t> prompt = prompt_ids(typed, *tokenizer);
  const model::Decoder decoder =
      model::load_decoder(info, dtype == "bf16" ? at::kBFloat16 : at::kFloat);
  std::vector<int64_t> stop = info.config.eos;
  if (tokenizer->special().eos)
    stop.push_back(*tokenizer->special().eos);

  text::StreamDecoder stream(*tokenizer);
  const auto start = std::chrono::steady_clock::now();
  auto first = start;  // when the prompt was read
  const auto show = [&](int32_t id) {
    if (first == start)
      first = std::chrono::steady_clock::now();
    if (std::find(stop.begin(), stop.end(), id) == stop.end())
      streams.out << stream.push(id) << std::flush;
    return true;
  };
  const auto made = eval::generate(decoder, prompt, sampling, stop, show);
  streams.out << stream.flush() << "\n" << std::flush;
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - first;
  streams.err << std::setprecision(3) << prompt.size() << " tokens read in "
              << std::chrono::duration<double>(first - start).count() << " s, " << made.size()
              << " written";
  if (made.size() > 1)
    streams.err << " at " << static_cast<double>(made.size() - 1) / seconds.count() << " tokens/s";
  streams.err << "\n";
  return kDone;
}

}  // namespace

Command generate_command() {
  Command command;
  command.name = "generate";
  command.usage = "CHECKPOINT --prompt TEXT [--chat] [--max-new N]";
  command.summary = "continues a prompt, or answers it, token by token";
  command.details =
      "Takes the most likely token, or samples where a temperature is given: the same seed gives\n"
      "the same text. Ends at the checkpoint's end tokens.";
  command.example =
      "generate ~/.cache/sterna/models/SmolLM2-135M-Instruct.Q4_1.gguf --chat "
      "--prompt 'What is the capital of France?'";
  command.paths = {1, 1};
  command.overrides = false;
  command.flags = {{"prompt", "TEXT", "what to continue"},
                   {"chat", "", "put the prompt into the checkpoint's chat template"},
                   {"max-new", "N", "tokens to write at most, 100"},
                   {"temperature", "T", "sample; 0 takes the most likely token"},
                   {"top-p", "P", "sample among the most likely tokens that make up P"},
                   {"seed", "S", "of the sampling, 0"},
                   {"dtype", "D", "fp32 or bf16"}};
  command.run = run;
  return command;
}

}  // namespace sterna::cli
