#include <iomanip>
#include <ostream>

#include "recipes/blame.h"
#include "trainer/cli/checkpoint.h"
#include "trainer/export/export.h"
#include "trainer/model/plan_fits.h"
#include "trainer/model/quantizers.h"

namespace sterna::cli {
namespace {

struct Totals {
  double weights = 0;
  double bits = 0;
  double worst = 0;
  std::string worst_name;
};

void quantize_one(const std::string& name,
                  quant::Quantizer& quantizer,
                  model::Weights& weights,
                  Totals& totals) {
  at::Tensor& w = weights.tensors.at(name);
  quantizer.init(w);
  const quant::Encoded encoded = quantizer.encode(w);
  const at::Tensor values = quant::decode(encoded);
  const double norm = w.norm().item<double>();
  const double error = norm == 0 ? 0 : (values - w).norm().item<double>() / norm;
  totals.weights += static_cast<double>(w.numel());
  totals.bits += quant::bits_per_weight(encoded) * static_cast<double>(w.numel());
  if (error >= totals.worst) {
    totals.worst = error;
    totals.worst_name = name;
  }
  weights.encoded[name] = encoded;
  w = values;
}

quant::Plan read_plan(const Invocation& typed) {
  recipes::Recipe recipe = open_recipe(typed);
  const quant::Plan plan = quant::Plan::read(recipe.section("quant"));
  recipes::ignore_other_tables(recipe, "quant");
  recipe.reject_unknown();
  if (plan.empty())
    throw recipes::UserError(
        "quantize: say how: quant.weight=NAME (see `sterna list quantizer`) or "
        "a recipe with a [quant] table");
  return plan;
}

int run(const Invocation& typed, Streams streams) {
  const std::filesystem::path target = typed.text("out");
  if (!typed.has("out"))
    throw recipes::UserError("quantize: say where to: --out DIR");
  if (std::filesystem::exists(target))
    throw recipes::UserError(target.string() +
                             ": exists already; choose another folder or remove it");
  const quant::Plan plan = read_plan(typed);
  const model::CheckpointInfo info = open_checkpoint(typed.paths.front(), streams);
  model::Decoder shapes(info.config, at::kFloat);
  model::require_plan_fits(plan, shapes);
  exporter::ExportSource source = exporter::open_source(info);
  Totals totals;
  for (const model::Parameter& parameter : shapes.parameters()) {
    if (const auto quantizer = model::build_quantizer(plan, parameter))
      quantize_one(parameter.name, *quantizer, source.weights, totals);
  }
  const auto format = exporter::formats().make_default("sterna");
  exporter::export_folder(source, *format, target);
  streams.out << target.string() << ": " << source.weights.encoded.size() << " matrices, "
              << std::setprecision(4) << totals.bits / std::max(totals.weights, 1.0)
              << " bits per weight with scales; largest relative error " << totals.worst << " in "
              << totals.worst_name << "\n";
  return kDone;
}

}  // namespace

Command quantize_command() {
  Command command;
  command.name = "quantize";
  command.usage = "CHECKPOINT [RECIPE] --out DIR [key=value]...";
  command.summary = "rounds a checkpoint's weights by a quantizer, without training";
  command.details =
      "Any registered quantizer, started from the weights (`sterna list quantizer`); rules by "
      "layer\n"
      "as in a training recipe. Writes an export in the layout 'sterna'.";
  command.example =
      "quantize tests/golden/tiny_llama --out build/ptq quant.weight=minmax_asym "
      "quant.weight.group=8";
  command.paths = {1, 1};
  command.recipes = {0, 1};
  command.flags = {{"out", "DIR", "folder to be made; must not exist"}};
  command.memory_hint =
      "The whole model is held in fp32 (4 bytes a weight) beside its codes: use a machine with "
      "more memory.";
  command.run = run;
  return command;
}

}  // namespace sterna::cli
