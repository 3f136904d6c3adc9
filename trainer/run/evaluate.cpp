#include "trainer/run/evaluate.h"

#include <nlohmann/json.hpp>

#include "trainer/data/eval_text.h"
#include "trainer/eval/generate.h"
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
    : session_(session), folder_(folder) {
  const EvalConfig& config = session.settings.eval;
  for (const std::filesystem::path& path : config.text) {
    data::EvalTextOptions options = config.text_options();
    options.text = {path};
    const std::string name = path.filename().string();
    for (const Text& other : texts_) {
      if (other.name == name)
        throw recipes::UserError("eval.text: two files are called " + name +
                                 ", and results are named after them; rename one");
    }
    texts_.push_back({name, data::read_eval_ids(options, *session.tokenizer)});
  }
}

std::filesystem::path Evaluator::file_of(const std::string& cell, const Text& text) const {
  return folder_.eval(cell + "." + text.name);
}

bool Evaluator::done(const std::string& cell) const {
  return std::all_of(texts_.begin(), texts_.end(), [&](const Text& text) {
    return std::filesystem::exists(file_of(cell, text));
  });
}

std::vector<std::string> Evaluator::continuations(const model::Decoder& decoder) const {
  const EvalConfig& config = session_.settings.eval;
  std::vector<std::string> result;
  for (const std::string& prompt : config.prompts) {
    eval::Sampling greedy;
    greedy.max_new = config.prompt_tokens;
    const std::vector<int32_t> ids = eval::generate(
        decoder, session_.tokenizer->encode(prompt), greedy, session_.source.config.eos);
    result.push_back(prompt + on_one_line(session_.tokenizer->decode(ids)));
  }
  return result;
}

std::vector<eval::EvalResult> Evaluator::run(const Subject& subject) const {
  const at::NoGradGuard no_grad;
  const Settings& s = session_.settings;
  eval::EvalOptions options = s.eval.options();
  options.between = SignalWatch::check;
  std::vector<eval::EvalResult> results;
  for (const Text& text : texts_) {
    const eval::EvalResult result =
        eval::evaluate(subject.decoder, text.ids, options, session_.teacher.get());
    nlohmann::ordered_json extra = {{"cell", subject.cell},
                                    {"text", text.name},
                                    {"bos", s.eval.bos},
                                    {"dtype", s.model.dtype},
                                    {"bits_per_weight", subject.bits}};
    if (results.empty())
      extra["samples"] = continuations(subject.decoder);
    io::write_atomically(file_of(subject.cell, text), eval::to_json(result, extra));
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
