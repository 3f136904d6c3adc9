#include <iomanip>
#include <map>
#include <ostream>

#include "recipes/blame.h"
#include "trainer/cli/checkpoint.h"
#include "trainer/data/eval_text.h"
#include "trainer/export/export.h"
#include "trainer/model/plan_fits.h"
#include "trainer/model/ptq.h"
#include "trainer/model/quantizers.h"
#include "trainer/model/same_tokens.h"

namespace sterna::cli {
namespace {

struct Totals {
  double weights = 0;
  double bits = 0;
  double worst = 0;
  std::string worst_name;
};

void keep(const std::string& name,
          const quant::Encoded& encoded,
          model::Weights& weights,
          Totals& totals) {
  at::Tensor& w = weights.tensors.at(name);
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

struct Settings {
  quant::Plan plan;
  model::PtqConfig ptq;
};

Settings read_settings(const Invocation& typed) {
  recipes::Recipe recipe = open_recipe(typed);
  Settings settings{quant::Plan::read(recipe.section("quant")),
                    recipe.section("ptq").read<model::PtqConfig>()};
  recipes::ignore_other_tables(recipe, {"quant", "ptq"});
  recipe.reject_unknown();
  if (settings.plan.empty())
    throw recipes::UserError(
        "quantize: say how: quant.weight=NAME (see `sterna list quantizer`) or "
        "a recipe with a [quant] table");
  if (settings.ptq.rounding == "gptq" && settings.ptq.text.empty())
    throw recipes::UserError(
        "quantize: ptq.rounding = \"gptq\" measures the layers' inputs; give ptq.text=FILE");
  return settings;
}

/// The text's first ids as int64 [S, T].
at::Tensor calibration(const model::PtqConfig& ptq, const model::CheckpointInfo& info) {
  const auto tokenizer = model::open_tokenizer(info);
  data::EvalTextOptions options;
  options.text = {ptq.text};
  const std::vector<int32_t> ids = data::read_eval_ids(options, *tokenizer);
  const int64_t samples =
      std::min<int64_t>(ptq.samples, static_cast<int64_t>(ids.size()) / ptq.seq_len);
  if (samples == 0)
    throw recipes::UserError(ptq.text.string() + ": " + std::to_string(ids.size()) +
                             " tokens are less than one sequence of ptq.seq_len = " +
                             std::to_string(ptq.seq_len) + "; give a longer text");
  if (ptq.seq_len > info.config.max_positions)
    throw recipes::UserError("ptq.seq_len = " + std::to_string(ptq.seq_len) +
                             ": the model is made for at most " +
                             std::to_string(info.config.max_positions) + " positions");
  return at::tensor(at::ArrayRef<int32_t>(ids.data(), static_cast<size_t>(samples * ptq.seq_len)),
                    at::kLong)
      .view({samples, ptq.seq_len});
}

/// The blocks' matrices by GPTQ; those outside of blocks are left to rounding to nearest.
void round_blocks(const Settings& settings,
                  const model::CheckpointInfo& info,
                  model::Weights& weights,
                  Totals& totals,
                  Streams streams) {
  const at::Tensor tokens = calibration(settings.ptq, info);
  streams.out << "gptq: layers' inputs measured on " << tokens.size(0) << " x " << tokens.size(1)
              << " tokens of " << settings.ptq.text.string() << "\n"
              << std::flush;
  model::Decoder decoder = model::load_decoder(info, at::kFloat);
  std::map<std::string, model::Parameter> parameters;
  for (const model::Parameter& parameter : decoder.parameters())
    parameters.emplace(parameter.name, parameter);
  model::Rounding rounding;
  rounding.quantizer_of = [&](const std::string& name) {
    auto quantizer = model::build_quantizer(settings.plan, parameters.at(name));
    if (quantizer)
      quantizer->init(weights.tensors.at(name));
    return quantizer;
  };
  rounding.done = [&](const std::string& name, const quant::Encoded& encoded) {
    keep(name, encoded, weights, totals);
  };
  model::round_by_gptq(decoder, tokens, rounding, {settings.ptq.act_order, settings.ptq.damp});
}

int run(const Invocation& typed, Streams streams) {
  const std::filesystem::path target = typed.text("out");
  if (!typed.has("out"))
    throw recipes::UserError("quantize: say where to: --out DIR");
  if (std::filesystem::exists(target))
    throw recipes::UserError(target.string() +
                             ": exists already; choose another folder or remove it");
  const Settings settings = read_settings(typed);
  const model::CheckpointInfo info = open_checkpoint(typed.paths.front(), streams);
  if (text::has_tokenizer(info.tokenizer_path))
    model::open_tokenizer(info);  // goes into the export, so it must fit
  model::Decoder shapes(info.config, at::kFloat);
  model::require_plan_fits(settings.plan, shapes);
  exporter::ExportSource source = exporter::open_source(info);
  Totals totals;
  const bool gptq = settings.ptq.rounding == "gptq";
  if (gptq)
    round_blocks(settings, info, source.weights, totals, streams);
  for (const model::Parameter& parameter : shapes.parameters()) {
    if (gptq && model::place_of(parameter) == quant::Place::kBlock)
      continue;
    if (const auto quantizer = model::build_quantizer(settings.plan, parameter)) {
      const at::Tensor& w = source.weights.tensors.at(parameter.name);
      quantizer->init(w);
      keep(parameter.name, quantizer->encode(w), source.weights, totals);
    }
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
      "as in a training recipe. ptq.rounding=gptq ptq.text=FILE rounds by GPTQ, on the inputs that "
      "the\n"
      "text gives to each layer. Writes an export in the layout 'sterna'.";
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
