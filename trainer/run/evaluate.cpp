#include "trainer/run/evaluate.h"

#include <span>
#include <sstream>

#include <nlohmann/json.hpp>

#include "trainer/eval/continue.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/sha256.h"
#include "trainer/run/log.h"
#include "trainer/run/signals.h"
#include "trainer/run/summary.h"
#include "trainer/run/together.h"

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

std::string conditions_of(const Settings& s, const eval::EvalText& text) {
  const EvalConfig& e = s.eval;
  const int64_t stride = e.stride == 0 ? e.window : e.stride;
  std::ostringstream rules;
  rules << e.window << " " << stride << " " << e.max_windows << " " << e.overlap_target << " "
        << e.score << " " << s.model.dtype << "\n";
  io::Sha256 hash;
  hash.update(rules.str());
  hash.update(std::as_bytes(std::span(text.ids)));
  return hash.hex().substr(0, 16);
}

/// A file that an earlier program wrote does not say: it counts as measured as today.
bool measured_so(const std::filesystem::path& file, const std::string& conditions) {
  if (!std::filesystem::exists(file))
    return false;
  const nlohmann::json evaluation = evaluation_in(file);
  return !evaluation.is_null() && evaluation.value("conditions", conditions) == conditions;
}

}  // namespace

Evaluator::Evaluator(const Session& session, const RunFolder& folder)
    : session_(session), folder_(folder) {
  for (const eval::EvalText& text : session.texts)
    conditions_.push_back(conditions_of(session.settings, text));
}

std::filesystem::path Evaluator::file_of(const std::string& cell,
                                         const eval::EvalText& text) const {
  return folder_.eval(cell + "." + text.name);
}

bool Evaluator::done(const std::string& cell) const {
  return as_rank_0(*session_.world, [&] {
    for (size_t i = 0; i < session_.texts.size(); ++i)
      if (!measured_so(file_of(cell, session_.texts[i]), conditions_[i]))
        return false;
    return true;
  });
}

/// The windows are shared out over the ranks.
eval::Share Evaluator::share(bool in_step) const {
  dist::World& world = *session_.world;
  if (world.size() == 1)
    return {};
  return {world.rank(),
          world.size(),
          [&world](const std::function<std::string()>& measure) {
            return told_together(world, measure);
          },
          in_step};
}

/// In step all ranks write to the same length, whatever they read.
std::vector<std::string> Evaluator::continuations(const Subject& subject) const {
  const EvalConfig& config = session_.settings.eval;
  std::vector<std::string> result;
  for (const std::string& prompt : config.prompts) {
    eval::Sampling greedy;
    greedy.max_new = config.prompt_tokens;
    greedy.past_end = subject.in_step;
    const text::Tokenizer& tokenizer = *session_.tokenizer;
    const eval::Continuation made = eval::continue_prompt(
        subject.decoder, tokenizer, eval::prompt_ids(tokenizer, prompt), greedy);
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
  dist::World& world = *session_.world;
  options.between = SignalWatch::check;
  if (subject.in_step)
    options.between = [&world] { stop_together(world); };
  options.share = share(subject.in_step);
  std::vector<eval::EvalResult> results;
  for (const eval::EvalText& text : session_.texts) {
    const eval::EvalResult result =
        eval::evaluate(subject.decoder, text.ids, options, reference_of(subject));
    results.push_back(result);
    nlohmann::ordered_json samples;
    if (results.size() == 1) {
      const auto write = [&] { samples = continuations(subject); };
      subject.in_step ? together(world, write) : on_rank_0(world, write);
    }
    if (world.rank() != 0)
      continue;
    nlohmann::ordered_json extra = {{"cell", subject.cell},
                                    {"text", text.name},
                                    {"bos", s.eval.bos},
                                    {"dtype", s.model.dtype},
                                    {"conditions", conditions_[results.size() - 1]},
                                    {"bits_per_weight", subject.bits}};
    if (results.size() == 1)
      extra["samples"] = samples;
    io::write_atomically(file_of(subject.cell, text), eval::to_json(result, extra).dump(2) + "\n");
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
