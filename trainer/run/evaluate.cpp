#include "trainer/run/evaluate.h"

#include <nlohmann/json.hpp>

#include "trainer/eval/continue.h"
#include "trainer/io/atomic_file.h"
#include "trainer/run/log.h"
#include "trainer/run/signals.h"

namespace sterna::run {
namespace {

/// Line breaks as one mark, so that a continuation stays on its line of the table.
std::string on_one_line(const std::string& text) {
  std::string line;
  for (const char c : text) {
    if (c != '\n')
      line += c;
    else if (!line.ends_with(" / "))
      line += " / ";
  }
  return line;
}

}  // namespace

Evaluator::Evaluator(const Session& session, const RunFolder& folder)
    : session_(session), folder_(folder) {}

std::filesystem::path Evaluator::file_of(const std::string& cell,
                                         const eval::EvalText& text) const {
  return folder_.eval(cell + "." + text.name);
}

bool Evaluator::done(const std::string& cell) const {
  return std::all_of(session_.texts.begin(), session_.texts.end(), [&](const eval::EvalText& text) {
    return std::filesystem::exists(file_of(cell, text));
  });
}

std::vector<std::string> Evaluator::continuations(const model::Decoder& decoder) const {
  const EvalConfig& config = session_.settings.eval;
  std::vector<std::string> result;
  for (const std::string& prompt : config.prompts) {
    eval::Sampling greedy;
    greedy.max_new = config.prompt_tokens;
    const text::Tokenizer& tokenizer = *session_.tokenizer;
    const eval::Continuation made =
        eval::continue_prompt(decoder, tokenizer, eval::prompt_ids(tokenizer, prompt), greedy);
    result.push_back(prompt + on_one_line(made.text));
  }
  return result;
}

/// A teacher that is the student itself in full precision has nothing to say about it.
const model::Decoder* Evaluator::reference_of(const Subject& subject) const {
  const bool itself = subject.cell == kFullPrecision && session_.teaches_itself();
  return itself ? nullptr : session_.teacher.get();
}

std::vector<eval::EvalResult> Evaluator::run(const Subject& subject) const {
  const at::NoGradGuard no_grad;
  const Settings& s = session_.settings;
  eval::EvalOptions options = s.eval.options();
  options.between = SignalWatch::check;
  std::vector<eval::EvalResult> results;
  for (const eval::EvalText& text : session_.texts) {
    const eval::EvalResult result =
        eval::evaluate(subject.decoder, text.ids, options, reference_of(subject));
    nlohmann::ordered_json extra = {{"cell", subject.cell},
                                    {"text", text.name},
                                    {"bos", s.eval.bos},
                                    {"dtype", s.model.dtype},
                                    {"bits_per_weight", subject.bits}};
    if (results.empty())
      extra["samples"] = continuations(subject.decoder);
    io::write_atomically(file_of(subject.cell, text), eval::to_json(result, extra).dump(2) + "\n");
    results.push_back(result);
  }
  return results;
}

std::string to_text(const eval::EvalResult& result) {
  std::string text = "perplexity " + short_number(result.ppl, 6);
  if (result.divergence)
    text += ", KL to the teacher " + short_number(result.divergence->mean, 3) + ", same top " +
            short_number(100 * result.divergence->same_top, 3) + " %";
  return text + " (" + short_number(result.seconds, 3) + " s)";
}

}  // namespace sterna::run
