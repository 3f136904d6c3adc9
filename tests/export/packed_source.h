#pragma once

#include <functional>
#include <sstream>

#include "quant/quantizer.h"
#include "tests/export/toy_source.h"
#include "tests/support/tiny_families.h"
#include "trainer/export/prospect.h"
#include "trainer/model/quantizers.h"

namespace sterna::tests {

/// Sizes that are whole words and bytes of every layout.
inline TinyModel packable_model() {
  TinyModel shape;
  shape.width = 64;
  shape.inner = 128;
  shape.heads = 4;
  shape.kv_heads = 2;
  return shape;
}

/// `[quant]` and the rest of a recipe that says it.
inline quant::Plan plan_of(const std::string& toml) {
  recipes::Recipe recipe = recipes::Recipe::parse(toml, "test.toml");
  return quant::Plan::read(recipe.section("quant"));
}

/// A resolved `[act]`.
inline std::string act_of(const std::string& toml) {
  return toml.empty() ? toml : model::act_recipe(toml, "test.toml");
}

constexpr const char* kInt8Tokens = "[act]\ninput = { name = \"per_token\", bits = 8 }\n";

/// A checkpoint in `folder` as a recipe would have trained it: every matrix that the plan names has
/// codes and the values that they stand for.
inline exporter::ExportSource planned_source(const std::filesystem::path& folder,
                                             const std::string& toml,
                                             const std::string& act = "") {
  exporter::ExportSource source = exporter::read_source(model::inspect(folder));
  const quant::Plan plan = plan_of(toml);
  model::Decoder shapes(source.config, at::kFloat);
  for (const model::Parameter& p : shapes.parameters()) {
    const auto quantizer = model::build_quantizer(plan, p);
    if (!quantizer)
      continue;
    const at::Tensor w = source.weights.tensors.at(p.name);
    quantizer->init(w);
    source.weights.encoded[p.name] = quantizer->encode(w);
    source.weights.tensors[p.name] = quant::decode(source.weights.encoded[p.name]);
  }
  source.weights.activations.recipe = act_of(act);
  return source;
}

inline exporter::Prospect prospect_of(const exporter::ExportSource& source,
                                      const std::string& toml) {
  return exporter::prospect_of(source.config, plan_of(toml), source.weights.activations.recipe);
}

inline std::unique_ptr<exporter::Format> format_with(const std::string& name,
                                                     const std::vector<std::string>& settings) {
  recipes::Recipe recipe;
  recipe.set("export.format=" + name);
  for (const std::string& setting : settings)
    recipe.set("export.format." + setting);
  return exporter::formats().build(recipe.section("export"), "format");
}

/// Layouts that hold codes of any scheme, or values alone.
inline std::vector<std::string> formats_of_any_scheme() {
  return {"dense", "sterna"};
}

/// Something that a format holds, with codes where it has some.
inline exporter::ExportSource source_for(const std::string& format,
                                         const std::filesystem::path& folder) {
  const auto any = formats_of_any_scheme();
  if (std::find(any.begin(), any.end(), format) != any.end()) {
    make_side_files(folder);
    return toy_source(folder);
  }
  write_tiny_model(folder, packable_model());
  return planned_source(folder,
                        "[quant]\nweight = { name = \"absmean\", group = -1 }\n",
                        format == "gptq" || format == "gguf" ? "" : kInt8Tokens);
}

}  // namespace sterna::tests
