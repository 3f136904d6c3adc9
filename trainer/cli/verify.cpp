#include <iomanip>
#include <ostream>

#include "trainer/cli/checkpoint.h"
#include "trainer/cli/verify_against.h"
#include "trainer/eval/expected.h"
#include "trainer/io/safetensors.h"
#include "trainer/run/config.h"

namespace sterna::cli {
namespace {

int verify_expected(const Invocation& typed, Streams streams) {
  const double tolerance = typed.number("tolerance", 1e-4, recipes::Range{0.0, 1e6});
  const auto expected = io::open_safetensors(typed.text("expected"));
  recipes::Recipe recipe = open_recipe(typed);
  const auto wanted = recipe.section("verify").read<run::VerifyConfig>();
  recipe.reject_unknown();
  model::CheckpointInfo info = open_checkpoint(typed.paths.front(), streams);
  if (wanted.rope == "bf16" && !info.config.learned_positions)
    info.config.rope = eval::with_bf16_frequencies(info.config.rope);
  const model::Decoder decoder = model::load_decoder(info, at::kFloat);
  bool all_within = true;
  streams.out << "tensor                        max error   mean error\n" << std::scientific;
  for (const eval::TensorError& error : eval::compare_with_expected(decoder, *expected)) {
    const bool within = error.max <= tolerance;
    all_within = all_within && within;
    streams.out << std::left << std::setw(28) << error.name << std::right << std::setprecision(3)
                << std::setw(12) << error.max << std::setw(13) << error.mean
                << (within ? "" : "  BEYOND") << "\n";
  }
  streams.out << (all_within ? "all within " : "not all within ") << tolerance << "\n"
              << std::defaultfloat;
  return all_within ? kDone : kAnswerIsNo;
}

int run_verify(const Invocation& typed, Streams streams) {
  if (typed.has("expected") == typed.has("against"))
    throw recipes::UserError("verify: give one of --expected FILE.safetensors and --against RUN");
  if (typed.has("against"))
    return verify_against(typed, streams);
  return verify_expected(typed, streams);
}

}  // namespace

Command verify_command() {
  Command command;
  command.name = "verify";
  command.usage =
      "CHECKPOINT (--expected FILE.safetensors [--tolerance E] | --against RUN) "
      "[verify.key=value]...";
  command.summary = "proves an export against its run, or a checkpoint against expected tensors";
  command.details =
      "--expected: the file holds input_ids [B, T] and any of logits, hidden_states.i (0: the\n"
      "embeddings, the last one: after the final norm), attentions.i, or topk_indices with\n"
      "topk_values, and logsumexp. Computes in fp32 and prints the largest and the mean absolute\n"
      "error of each tensor. verify.rope=bf16 where the values come from a model that was cast to\n"
      "bf16 as a whole, RoPE's frequencies with it.\n"
      "--against: compares codes, scales and weights of an export with what training computed "
      "with,\n"
      "bit for bit, and writes certificate.json into it, with the KL divergence on verify.text.\n"
      "Exit code 1 where anything differs.";
  command.example =
      "verify tests/golden/tiny_llama --expected tests/golden/tiny_llama/expected.safetensors";
  command.paths = {1, 1};
  command.flags = {{"expected", "FILE", "tensors to compare with"},
                   {"against", "RUN", "run or checkpoint that the export was made from"},
                   {"tolerance", "E", "largest absolute error that passes, 1e-4"}};
  command.memory_hint =
      "--against holds both models in fp32 (4 bytes a weight each); `verify.text=` leaves out the "
      "KL divergence, which needs both once more.";
  command.run = run_verify;
  return command;
}

}  // namespace sterna::cli
