#include <nlohmann/json.hpp>

#include "trainer/eval/perplexity.h"

namespace sterna::eval {

nlohmann::ordered_json to_json(const EvalResult& result, const nlohmann::ordered_json& extra) {
  nlohmann::ordered_json json = {{"format", 1},
                                 {"nll", result.nll},
                                 {"ppl", result.ppl},
                                 {"ppl_stderr", result.ppl_stderr},
                                 {"predicted_tokens", result.predicted_tokens},
                                 {"tokens", result.tokens},
                                 {"window", result.window},
                                 {"stride", result.stride},
                                 {"overlap_target", result.overlap_target},
                                 {"score", result.score == Score::kAll ? "all" : "half"}};
  json.update(extra);
  json["seconds"] = result.seconds;
  if (result.not_finite > 0)
    json["not_finite"] = result.not_finite;
  if (result.divergence) {
    const Divergence& d = *result.divergence;
    json["kld"] = {{"mean", d.mean},
                   {"median", d.median},
                   {"p95", d.p95},
                   {"p99", d.p99},
                   {"p999", d.p999},
                   {"max", d.max}};
    json["same_top"] = d.same_top;
    json["ppl_ratio"] = d.ppl_ratio;
  }
  return json;
}

}  // namespace sterna::eval
