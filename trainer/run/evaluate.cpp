#include "trainer/run/evaluate.h"

#include "trainer/data/eval_text.h"
#include "trainer/io/atomic_file.h"
#include "trainer/run/log.h"

namespace sterna::run {

Evaluator::Evaluator(const Session& session, const RunFolder& folder)
    : session_(session), folder_(folder) {
  const EvalConfig& config = session.settings.eval;
  if (config.text.empty())
    return;
  options_ = config.options();
  ids_ = data::read_eval_ids(config.text_options(), *session.tokenizer);
}

std::optional<eval::EvalResult> Evaluator::run(const model::Decoder& decoder,
                                               const std::string& cell) const {
  if (!wanted())
    return std::nullopt;
  const at::NoGradGuard no_grad;
  const eval::EvalResult result = eval::evaluate(decoder, ids_, options_, session_.teacher.get());
  const Settings& s = session_.settings;
  io::write_atomically(
      folder_.eval(cell),
      eval::to_json(result, {{"cell", cell}, {"bos", s.eval.bos}, {"dtype", s.model.dtype}}) +
          "\n");
  return result;
}

std::string to_text(const eval::EvalResult& result) {
  std::string text = "perplexity " + short_number(result.ppl, 6);
  if (result.divergence)
    text += ", KL to the teacher " + short_number(result.divergence->mean, 3) + ", same top " +
            short_number(100 * result.divergence->same_top, 3) + " %";
  return text + " (" + short_number(result.seconds, 3) + " s)";
}

}  // namespace sterna::run
