#include <algorithm>
#include <map>
#include <ostream>

#include "trainer/cli/command.h"
#include "trainer/cli/plan_table.h"
#include "trainer/export/format.h"
#include "trainer/model/adapters.h"
#include "trainer/model/quantizers.h"
#include "trainer/run/deliver.h"
#include "trainer/run/rank_checks.h"
#include "trainer/run/session.h"

namespace sterna::cli {
namespace {

constexpr int64_t kMostSamples = 1000;

std::vector<PlannedMatrix> matrices_of(const model::DecoderConfig& config) {
  model::Decoder decoder(config, at::kFloat);
  std::vector<PlannedMatrix> matrices;
  for (const model::Parameter& p : decoder.parameters()) {
    if (!p.matrix || p.shape.size() != 2)
      continue;
    PlannedMatrix m;
    m.tensor = p.name;
    m.rows = p.shape[0];
    m.columns = p.shape[1];
    m.place = model::place_of(p);
    matrices.push_back(std::move(m));
  }
  return matrices;
}

void print_samples(const data::SampleSource& samples,
                   const text::Tokenizer& tokenizer,
                   int64_t wanted,
                   std::ostream& out) {
  for (int64_t i = 0; i < std::min(wanted, samples.size()); ++i) {
    const data::Sample sample = samples.at(i);
    out << "\n--- sample " << i << ": " << std::count(sample.loss.begin(), sample.loss.end(), 1)
        << " of " << sample.loss.size() << " targets carry loss, none in [[ ]]"
        << (sample.documents.empty() ? "" : "; documents between ===== do not see each other")
        << "\n"
        << data::show_sample(sample, tokenizer) << "\n";
  }
}

void print_adapters(const run::Session& session, std::ostream& out) {
  model::Decoder decoder(session.source.config, at::kFloat);
  model::attach_adapters(decoder, session.adapters);
  int64_t layers = 0;
  int64_t values = 0;
  for (const quant::Linear* linear : decoder.linears()) {
    if (!linear->adapter)
      continue;
    ++layers;
    for (const quant::AdapterMatrix& matrix : linear->adapter->matrices())
      values += matrix.shape[0] * matrix.shape[1];
  }
  if (layers > 0)
    out << "adapters: " << layers << " linear layers, " << values
        << " values to train beside the frozen weights\n";
}

/// Which activations are rounded: per kind and scheme, how many sites.
void print_activations(const run::Session& session, std::ostream& out) {
  if (session.activations.empty())
    return;
  model::Decoder decoder(session.source.config, at::kFloat);
  constexpr const char* kNames[] = {"inputs of linear layers", "keys", "values"};
  std::map<std::pair<quant::ActKind, std::string>, int64_t> sites;
  for (const model::ActSite& site : decoder.act_sites())
    ++sites[{site.kind, session.activations.scheme_of(site.name, site.kind)}];
  for (const auto& [what, count] : sites)
    out << "activations: " << kNames[static_cast<int>(what.first)] << ": " << what.second << " ("
        << count << ")\n";
}

/// A line for each export format: whether it holds exactly what is going to be trained.
void print_exports(recipes::Recipe& recipe, const run::Session& session, std::ostream& out) {
  const exporter::Prospect prospect = run::prospect_of(recipe, session);
  recipes::Section section = recipe.section("export");
  const std::string chosen = section.has("format") ? section.choose("format") : "";
  for (const std::string& name : exporter::formats().names()) {
    const auto format = name == chosen ? exporter::formats().build(section, "format")
                                       : exporter::formats().make_default(name);
    const auto why = format->why_not(prospect);
    out << "export " << name << ": " << (why ? "not exactly: " + *why : "exact") << "\n";
  }
}

void fill_inputs(const quant::ActPlan& plan, std::vector<PlannedMatrix>& matrices) {
  if (plan.empty())
    return;
  for (PlannedMatrix& m : matrices)
    m.input = m.place == quant::Place::kBlock
                  ? plan.scheme_of(model::module_of(m.tensor), quant::ActKind::kInput)
                  : "none";
}

int run_check(const Invocation& typed, Streams streams) {
  const int64_t wanted = typed.integer("samples", 0, {0, kMostSamples});
  const int64_t ranks = typed.integer("world", 1, {1, run::kMostRanks});
  recipes::Recipe recipe = open_recipe(typed);
  const run::Session session = run::open_session(recipe);
  run::require_ranks(session, ranks);
  for (const std::string& remark : session.remarks)
    streams.err << remark << "\n";
  std::vector<PlannedMatrix> matrices = matrices_of(session.source.config);
  fill_plan(session.plan, matrices);
  fill_inputs(session.activations, matrices);
  const run::Settings& s = session.settings;
  const data::SampleSource& samples = session.samples ? *session.samples : *session.block_samples;

  recipe.write(streams.out);
  streams.out << "\n";
  print_plan(matrices, streams.out);
  if (session.bit_tokens.defined())
    streams.out << "quant.budget_bits: `sterna train` first measures on "
                << session.bit_tokens.numel()
                << " tokens how many bits each matrix needs;\nthe table shows quant.weight in "
                   "their place\n";
  print_activations(session, streams.out);
  print_adapters(session, streams.out);
  print_exports(recipe, session, streams.out);
  streams.out << "\ndata: " << samples.tokens() << " tokens, " << samples.size() << " samples of "
              << (s.train.steps > 0 ? s.train.seq_len : s.blockwise_seq_len()) << "\n";
  if (s.train.steps > 0)
    streams.out << "ranks: " << run::ranks_text(s.train, ranks) << "\n";
  print_samples(samples, *session.tokenizer, wanted, streams.out);
  return kDone;
}

}  // namespace

Command check_command() {
  Command command;
  command.name = "check";
  command.usage = "RECIPE [key=value]...";
  command.summary = "builds what a recipe says, without training, and shows it";
  command.details =
      "Prints the recipe with every default, a table of what happens to each weight matrix, which\n"
      "export formats hold the result exactly and why others do not, and how much data there is.\n"
      "Finds the mistakes that training would find.";
  command.example = "check recipes/quickstart.toml --samples 2";
  command.recipes = {1, 8};
  command.flags = {{"samples", "N", "also prints the first N training samples and their loss mask"},
                   {"world", "N", "ranks that are to share a step; default 1"}};
  command.run = run_check;
  return command;
}

}  // namespace sterna::cli
