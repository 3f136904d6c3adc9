#include <iomanip>
#include <map>
#include <ostream>
#include <sstream>

#include "recipes/blame.h"
#include "trainer/cli/checkpoint.h"
#include "trainer/eval/bits.h"
#include "trainer/eval/calibration.h"
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
  std::optional<quant::ActPlan> act;  ///< stands in for the checkpoint's own
  std::string act_recipe;
  model::PtqConfig ptq;
};

Settings read_settings(recipes::Recipe& recipe) {
  Settings settings{quant::Plan::read(recipe.section("quant")),
                    read_activations(recipe),
                    "",
                    recipe.section("ptq").read<model::PtqConfig>()};
  recipes::ignore_other_tables(recipe, {"quant", "act", "ptq"});
  recipe.reject_unknown();
  std::ostringstream resolved;
  recipe.write(resolved);
  settings.act_recipe = model::act_recipe(resolved.str(), "recipe");
  if (settings.plan.empty() && (!settings.act || settings.act->empty()))
    throw recipes::UserError(
        "quantize: say how: quant.weight=NAME (see `sterna list quantizer`) or "
        "a recipe with a [quant] table");
  if (settings.ptq.rounding == "gptq" && settings.ptq.text.empty())
    throw recipes::UserError(
        "quantize: ptq.rounding = \"gptq\" measures the layers' inputs; give ptq.text=FILE");
  return settings;
}

/// Where the recipe wants bits assigned: measures, prints the table, and puts the rules into the
/// recipe. @return  the rules, empty where none are wanted
std::string assign_bits(recipes::Recipe& recipe,
                        const quant::Plan& plan,
                        const model::CheckpointInfo& info,
                        Streams streams) {
  model::Decoder shapes(info.config, at::kFloat);
  if (eval::bit_matrices(plan, shapes).empty())
    return {};
  const at::Tensor tokens = recipes::blame_on(
      recipe.section("quant"), "budget_text", [&] { return eval::bit_tokens(plan, info); });
  model::Decoder decoder = model::load_decoder(info, at::kFloat);
  const eval::BitAssignment bits =
      eval::assign_bits(plan, decoder, tokens, {[&](const std::string& line) {
                          streams.err << line << "\n" << std::flush;
                        }});
  streams.out << eval::table_text(plan, bits) << std::flush;
  const std::string rules = eval::rules_text(plan, bits);
  eval::add_rules(recipe, rules, eval::kBitsFile);
  return rules;
}

/// The blocks' matrices by GPTQ; those outside of blocks are left to rounding to nearest.
void round_blocks(const Settings& settings,
                  const model::CheckpointInfo& info,
                  model::Weights& weights,
                  Totals& totals,
                  Streams streams) {
  const model::PtqConfig& ptq = settings.ptq;
  const at::Tensor tokens =
      eval::read_calibration({ptq.text, ptq.samples, ptq.seq_len, "ptq.seq_len"}, info);
  streams.out << "gptq: layers' inputs measured on " << tokens.size(0) << " x " << tokens.size(1)
              << " tokens of " << ptq.text.string() << "\n"
              << std::flush;
  model::Decoder decoder = model::load_decoder(info, at::kFloat);
  if (settings.act)
    model::replace_activations(decoder, *settings.act);
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
  model::round_by_gptq(decoder, tokens, rounding, {ptq.act_order, ptq.damp});
}

int run_quantize(const Invocation& typed, Streams streams) {
  const std::filesystem::path target = typed.text("out");
  if (!typed.has("out"))
    throw recipes::UserError("quantize: say where to: --out DIR");
  if (std::filesystem::exists(target))
    throw recipes::UserError(target.string() +
                             ": exists already; choose another folder or remove it");
  recipes::Recipe recipe = open_recipe(typed);
  Settings settings = read_settings(recipe);
  const model::CheckpointInfo info = open_checkpoint(typed.paths.front(), streams);
  if (text::has_tokenizer(info.tokenizer_path))
    model::open_tokenizer(info);  // goes into the export, so it must fit
  model::Decoder shapes(info.config, at::kFloat);
  model::require_plan_fits(settings.plan, shapes);
  const std::string rules = recipes::at_its_key(
      recipe, [&] { return assign_bits(recipe, settings.plan, info, streams); });
  if (!rules.empty())
    settings.plan = quant::Plan::read(recipe.section("quant"));
  exporter::ExportSource source = exporter::read_source(info);
  if (!rules.empty())
    source.notes[eval::kBitsFile] = rules;
  if (settings.act) {
    model::attach_activations(shapes, source.weights.activations, info.path.string());
    model::replace_activations(shapes, *settings.act);
    source.weights.activations = {settings.act_recipe, model::act_state(shapes)};
  }
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
      "as in a training recipe; how [act] rounds activations goes into the export with them.\n"
      "ptq.rounding=gptq ptq.text=FILE rounds by GPTQ, on the inputs that the text gives to each\n"
      "layer. quant.budget_bits=3.3 quant.budget_text=FILE gives every matrix the bits that its\n"
      "sensitivity asks for, prints them, and writes them as rules into DIR/bits.toml. Writes an\n"
      "export in the layout 'sterna'.";
  command.example =
      "quantize tests/golden/tiny_llama --out build/ptq quant.weight=minmax_asym "
      "quant.weight.group=8";
  command.paths = {1, 1};
  command.recipes = {0, 1};
  command.flags = {{"out", "DIR", "folder to be made; must not exist"}};
  command.memory_hint =
      "The whole model is held in fp32 (4 bytes a weight) beside its codes: use a machine with "
      "more memory.";
  command.run = run_quantize;
  return command;
}

}  // namespace sterna::cli
