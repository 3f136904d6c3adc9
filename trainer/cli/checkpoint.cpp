#include "trainer/cli/checkpoint.h"

#include <ostream>

#include "trainer/model/activations.h"

namespace sterna::cli {

model::CheckpointInfo open_checkpoint(const std::filesystem::path& path, Streams streams) {
  model::CheckpointInfo info = model::inspect(path);
  for (const std::string& remark : info.remarks)
    streams.err << remark << "\n";
  return info;
}

Flag weights_flag() {
  return {
      "weights",
      "FORM",
      "of an export's codes: packed, the default, multiplies with them as they are; dequantized"};
}

model::WeightForm read_weight_form(const Invocation& typed, model::WeightForm packed) {
  const std::string form = typed.text("weights", "packed");
  if (form != "packed" && form != "dequantized")
    throw recipes::UserError("--weights: expected packed or dequantized, found '" + form + "'");
  return form == "packed" ? packed : model::WeightForm::kDequantized;
}

model::AnsweringModel load_ready(const model::CheckpointInfo& info,
                                 at::ScalarType dtype,
                                 model::WeightForm form) {
  model::AnsweringModel model = model::load_answering(info, dtype, form);
  model::require_ready(model.decoder);
  return model;
}

void tell_decoded(const model::PackingReport& report, Streams streams) {
  if (report.decoded.empty())
    return;
  streams.err << "no kernel multiplies the codes of " << report.decoded.size() << " of "
              << report.decoded.size() + report.packed.size()
              << " matrices; they are decoded first: " << *report.decoded.begin()
              << (report.decoded.size() > 1 ? ", ...\n" : "\n");
}

std::optional<quant::ActPlan> read_activations(recipes::Recipe& recipe) {
  if (!recipe.root().has("act"))
    return std::nullopt;
  return quant::ActPlan::read(recipe.section("act"));
}

}  // namespace sterna::cli
