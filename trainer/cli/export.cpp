#include "trainer/export/export.h"

#include <ostream>

#include "trainer/cli/checkpoint.h"

namespace sterna::cli {
namespace {

std::string format_names() {
  std::string text;
  for (const std::string& name : exporter::formats().names())
    text += (text.empty() ? "" : " | ") + name;
  return text;
}

int run_export(const Invocation& typed, Streams streams) {
  if (!typed.has("out"))
    throw recipes::UserError("export: say where to: --out DIR");
  recipes::Recipe flags;  // below the overrides, which may set further fields of the format
  if (typed.has("format"))
    flags.set("export.format=" + typed.text("format"));
  if (typed.has("dtype"))
    flags.set("export.format.dtype=" + typed.text("dtype"));
  recipes::Recipe recipe = open_recipe(typed, std::move(flags));
  const auto format = exporter::formats().build(recipe.section("export"), "format", "sterna");
  recipe.reject_unknown();

  const std::filesystem::path target = typed.text("out");
  if (std::filesystem::exists(target))
    throw recipes::UserError(target.string() +
                             ": exists already; choose another folder or remove it");
  const exporter::ExportSource source =
      exporter::open_source(open_checkpoint(typed.paths.front(), streams));
  exporter::export_folder(source, *format, target);
  streams.out << target.string() << ": " << exporter::folder_bytes(target) / 1000 << " kB\n";
  for (const std::string& remark : format->remarks(target))
    streams.out << remark << "\n";
  return kDone;
}

}  // namespace

Command export_command() {
  Command command;
  command.name = "export";
  command.usage = "CHECKPOINT --format NAME --out DIR [key=value]...";
  command.summary = "writes a checkpoint or run in another layout";
  command.details =
      "dense: de-quantised weights in a Hugging Face folder; sterna (the default): packed codes,\n"
      "scales and scheme; compressed-tensors, gptq, hf-bitnet: packed integers as other programs\n"
      "load them, codes and scales as trained, or refused by the tensor's name. Weights that are\n"
      "not quantized keep their bits where a small type holds them exactly.\n"
      "`sterna list export_format` shows the settings.";
  command.example = "export tests/golden/tiny_llama --format dense --out build/dense --dtype fp32";
  command.paths = {1, 1};
  command.flags = {{"format", "NAME", format_names()},
                   {"out", "DIR", "folder to be made; must not exist"},
                   {"dtype", "TYPE", "bf16 (default) | fp16 | fp32: of weights that are rounded"}};
  command.memory_hint =
      "One matrix after the other is held in fp32 (4 bytes a weight) and written; the largest asks "
      "for the most: use a machine with more memory.";
  command.run = run_export;
  return command;
}

}  // namespace sterna::cli
