#include <ostream>

#include "quant/quantizer.h"
#include "recipes/suggest.h"
#include "trainer/cli/command.h"

namespace sterna::cli {
namespace {

/// Every registry. To add one: a line here.
std::vector<const recipes::Components*> registries() {
  return {
      &quant::quantizers(),
  };
}

int run(const Invocation& typed, Streams streams) {
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
  if (!found) {
    std::string all;
    for (const std::string& kind : kinds)
      all += (all.empty() ? "" : ", ") + kind;
    const std::string near = recipes::did_you_mean(wanted, kinds);
    throw recipes::UserError("no kind of component called '" + wanted + "'" +
                             (near.empty() ? "; there are: " + all : near));
  }
  return kDone;
}

}  // namespace

Command list_command() {
  Command command;
  command.name = "list";
  command.usage = "[KIND]";
  command.summary = "lists what a recipe can name: components, fields, defaults, ranges";
  command.example = "list quantizer";
  command.paths = {0, 1};
  command.overrides = false;
  command.run = run;
  return command;
}

}  // namespace sterna::cli
