#include <ostream>

#include "distill/divergence.h"
#include "distill/objective.h"
#include "distill/weighting.h"
#include "quant/act_plan.h"
#include "quant/adapter_plan.h"
#include "quant/plan.h"
#include "quant/range_loss.h"
#include "recipes/suggest.h"
#include "trainer/cli/command.h"
#include "trainer/data/samples.h"
#include "trainer/export/format.h"
#include "trainer/model/ptq.h"
#include "trainer/plan/machine.h"
#include "trainer/run/config.h"
#include "trainer/run/ranges.h"

namespace sterna::cli {
namespace {

/// The tables of a recipe that are no components, listed in the same way.
class Sections : public recipes::Components {
 public:
  Sections() : Components("section") {
    using recipes::list_fields;
    add_entry({"run", "where a run keeps its files", list_fields<run::RunConfig>()});
    add_entry({"model", "the student before training", list_fields<run::ModelConfig>()});
    std::vector<recipes::Field> teacher = list_fields<run::TeacherConfig>();
    teacher.push_back({"quant",
                       "table",
                       "{}",
                       "",
                       "keys of section quant: matrices of blocks that are kept packed"});
    add_entry({"teacher", "the model to learn from", teacher});
    add_entry({"data", "the text to train on", list_fields<data::SourceConfig>()});
    add_entry({"data.blend",
               "[[data.blend]]: several texts in a ratio; keys left out are those of [data]",
               list_fields<data::BlendPart>()});
    add_entry({"train", "the end-to-end stage", list_fields<run::TrainConfig>()});
    add_entry({"blockwise", "the stage before it", list_fields<run::BlockwiseConfig>()});
    add_entry({"dist", "how the ranks of a run work together", list_fields<run::DistConfig>()});
    add_entry({"memory",
               "what lies in host memory while the device does not need it",
               list_fields<run::MemoryConfig>()});
    add_entry({"eval", "what is measured, and when", list_fields<run::EvalConfig>()});
    add_entry({"verify", "what a certificate measures", list_fields<run::VerifyConfig>()});
    add_entry({"export",
               "the layout that a run ends with",
               {recipes::component_field(
                   "format", exporter::formats(), "", "nothing is written where none is named")}});
    add_entry({"machine",
               "what `sterna plan` computes for; --gpu FILE.toml reads it from a file",
               list_fields<plan::Machine>()});
    add_entry({"ptq", "how `sterna quantize` rounds", list_fields<model::PtqConfig>()});
    add_entry(quant::adapter_section());
    add_entry(run::range_section());
    for (const auto& sections :
         {quant::plan_sections(), quant::act_sections(), distill::objective_sections()}) {
      for (const recipes::ComponentInfo& section : sections)
        add_entry(section);
    }
    add_entry({"(top level)", "outside every table", {kInclude}});
  }

 private:
  inline static const recipes::Field kInclude{
      "include", "list of paths", "[]", "", "recipes below this one, relative to its file"};
};

/// Everything that has a name in recipes. To add a registry: a line here.
std::vector<const recipes::Components*> registries() {
  static const Sections sections;
  return {
      &sections,
      &quant::quantizers(),
      &quant::adapters(),
      &quant::range_losses(),
      &quant::act_quantizers(),
      &distill::divergences(),
      &distill::weightings(),
      &exporter::formats(),
  };
}

std::string kinds_text() {
  std::string all;
  for (const recipes::Components* registry : registries())
    all += (all.empty() ? "" : ", ") + registry->kind();
  return all;
}

[[noreturn]] void refuse(const std::string& wanted, const std::vector<std::string>& kinds) {
  const std::string near = recipes::did_you_mean(wanted, kinds);
  throw recipes::UserError("no kind of component is called '" + wanted + "'" +
                           (near.empty() ? "; there are: " + kinds_text() : near));
}

int run_list(const Invocation& typed, Streams streams) {
  const std::string wanted = typed.paths.empty() ? "" : typed.paths.front().string();
  std::vector<std::string> kinds;
  bool found = false;
  for (const recipes::Components* registry : registries()) {
    kinds.push_back(registry->kind());
    if (!wanted.empty() && wanted != registry->kind())
      continue;
    registry->describe(streams.out);
    found = true;
  }
  if (!found)
    refuse(wanted, kinds);
  return kDone;
}

}  // namespace

Command list_command() {
  Command command;
  command.name = "list";
  command.usage = "[KIND]";
  command.summary = "lists what a recipe can say: components and keys with defaults and ranges";
  command.details = "KIND is one of: " + kinds_text() + "; without it, all of them.";
  command.example = "list quantizer";
  command.paths = {0, 1};
  command.overrides = false;
  command.run = run_list;
  return command;
}

}  // namespace sterna::cli
