#include <charconv>
#include <ostream>

#include <nlohmann/json.hpp>

#include "recipes/blame.h"
#include "recipes/suggest.h"
#include "trainer/cli/command.h"
#include "trainer/io/atomic_file.h"
#include "trainer/plan/report.h"
#include "trainer/run/rank_checks.h"

namespace sterna::cli {
namespace {

using recipes::UserError;

std::string known_machines() {
  std::string names;
  for (const std::string& name : plan::machine_names())
    names += name + ", ";
  return names + "or a file that ends in .toml";
}

/// `--gpu` as a part of the recipe: a file's table [machine], or a name for machine.like. Keys that
/// are typed win.
Invocation with_machine(const Invocation& typed) {
  Invocation all = typed;
  const std::string gpu = typed.text("gpu");
  if (gpu.empty())
    return all;
  if (!gpu.ends_with(".toml")) {
    const std::vector<std::string> names = plan::machine_names();
    if (std::find(names.begin(), names.end(), gpu) == names.end())
      throw UserError("--gpu: no machine '" + gpu + "'" + recipes::did_you_mean(gpu, names) +
                      "; expected " + known_machines());
    all.overrides.insert(all.overrides.begin(), "machine.like=" + gpu);
    return all;
  }
  for (const std::string& key : recipes::Recipe::load(gpu).root().keys())
    if (key != "machine")
      throw UserError("--gpu " + gpu + ": expected the table [machine] alone, found '" + key + "'");
  all.recipes.emplace_back(gpu);
  return all;
}

struct Sizes {
  int64_t first = 1;
  int64_t last = 1;
};

/// "8..1024"
Sizes sizes_of(const std::string& text) {
  Sizes sizes;
  const size_t dots = text.find("..");
  const auto number = [&](size_t begin, size_t end, int64_t& value) {
    const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
    return error == std::errc() && stop == text.data() + end;
  };
  if (dots == std::string::npos || !number(0, dots, sizes.first) ||
      !number(dots + 2, text.size(), sizes.last) || sizes.first < 1 || sizes.last < sizes.first ||
      sizes.last > run::kMostRanks)
    throw UserError(
        "--simulate: expected two numbers of ranks, the smaller first, as in 8..1024, "
        "found '" +
        text + "'");
  return sizes;
}

void write_report(const Invocation& typed, const nlohmann::ordered_json& json) {
  if (typed.has("json"))
    io::write_atomically(typed.text("json"), json.dump(2) + "\n");
}

int simulate(const Invocation& typed,
             const plan::Workload& work,
             const plan::Machine& machine,
             Streams streams) {
  const Sizes sizes = sizes_of(typed.text("simulate"));
  const auto points =
      plan::weak_scaling(work, plan::share_among(work, sizes.first), sizes.last, machine);
  plan::print_scaling(points, work, machine, streams.out);
  write_report(typed, plan::to_json(points, work, machine));
  return kDone;
}

int run_plan(const Invocation& typed, Streams streams) {
  const int64_t ranks = typed.integer("world", 1, {1, run::kMostRanks});
  if (typed.has("world") && typed.has("simulate"))
    throw UserError(
        "--world and --simulate: give one of them; --simulate A..B begins with A ranks");
  recipes::Recipe recipe = open_recipe(with_machine(typed));
  const run::Session session = run::open_shapes(recipe);
  const plan::Machine machine = plan::read_machine(recipe.section("machine"));
  plan::Workload work = plan::workload_of(session);
  work.settings.train.device = machine.like == "cpu" ? "cpu" : "cuda";
  if (work.settings.train.steps == 0)
    recipe.section("train").fail("steps",
                                 "the end-to-end stage is what is planned, and it has no steps");
  if (typed.has("simulate"))
    return recipes::at_its_key(recipe, [&] { return simulate(typed, work, machine, streams); });
  plan::PlanReport report{work, machine, {}, {}, {}, {}};
  report.planned = recipes::at_its_key(recipe, [&] { return plan::planned(work, ranks, machine); });
  report.strategies = plan::every_strategy(work, ranks, machine);
  if (!report.fits()) {
    report.single = plan::single_remedies(work, ranks, machine);
    report.together = plan::remedies_until_it_fits(work, ranks, machine);
  }
  plan::print_report(report, streams.out);
  write_report(typed, plan::to_json(report));
  return kDone;
}

}  // namespace

Command plan_command() {
  Command command;
  command.name = "plan";
  command.usage = "RECIPE [key=value]...";
  command.summary = "says what a recipe will need on so many GPUs, before one is paid for";
  command.details =
      "Memory of a rank by part, time of a step, communication, GPU-hours, checkpoints, and what "
      "to\n"
      "change where it does not fit. Nothing of the model is allocated, and of a Hugging Face "
      "folder\n"
      "config.json is enough: no weights, tokenizer or text. --simulate A..B instead gives weak\n"
      "scaling from A to B ranks. The machine is one of " +
      known_machines() +
      "\nwith a table [machine]; machine.KEY=VALUE changes it (sterna list section). Exit code 0\n"
      "whether it fits or not; docs/planning.md has the formulas and what they were held against.";
  command.example = "plan recipes/smollm2_ternary_tsld.toml --world 2 --gpu h100";
  command.recipes = {1, 8};
  command.flags = {{"world", "N", "ranks; default 1"},
                   {"gpu", "NAME", "the machine, by name or as a file; default h100"},
                   {"simulate", "A..B", "weak scaling over A, 2 A, ... ranks"},
                   {"json", "FILE", "also writes the result there"}};
  command.run = run_plan;
  return command;
}

}  // namespace sterna::cli
