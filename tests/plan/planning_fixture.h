#pragma once

#include <memory>

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/plan/planning.h"

namespace sterna::tests {

inline TinyModel llama_7b() {
  TinyModel shape;
  shape.vocab = 32000;
  shape.width = 4096;
  shape.inner = 11008;
  shape.layers = shape.heads = shape.kv_heads = 32;
  shape.positions = 8192;
  return shape;
}

/// Of the whole model there is nothing but its config.json.
inline void write_config_alone(const std::filesystem::path& folder, const TinyModel& shape) {
  std::filesystem::create_directories(folder);
  write_text_file(folder / "config.json", llama_config(shape).dump(1));
}

/// What a recipe on such a model works on.
class Planning : public testing::Test {
 protected:
  plan::Workload work_of(const std::string& recipe_text, const TinyModel& shape = llama_7b()) {
    write_config_alone(folder_.path() / "model", shape);
    recipes::Recipe recipe = recipes::Recipe::parse(recipe_text, "test");
    recipe.set("model.path=" + (folder_.path() / "model").string());
    return plan::workload_of(run::open_shapes(recipe));
  }

  const TempFolder folder_;
};

}  // namespace sterna::tests
