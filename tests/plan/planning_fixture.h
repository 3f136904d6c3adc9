#pragma once

#include <memory>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/plan/planning.h"

namespace sterna::tests {

/// Sizes of a Llama; of the whole model there is nothing but its config.json.
struct LlamaSizes {
  int64_t vocab = 32000;
  int64_t width = 4096;
  int64_t inner = 11008;
  int64_t layers = 32;
  int64_t heads = 32;
  int64_t kv_heads = 32;
  int64_t positions = 8192;
};

inline void write_config_alone(const std::filesystem::path& folder, const LlamaSizes& m = {}) {
  std::filesystem::create_directories(folder);
  const nlohmann::json config = {{"architectures", {"LlamaForCausalLM"}},
                                 {"model_type", "llama"},
                                 {"hidden_act", "silu"},
                                 {"vocab_size", m.vocab},
                                 {"hidden_size", m.width},
                                 {"intermediate_size", m.inner},
                                 {"num_hidden_layers", m.layers},
                                 {"num_attention_heads", m.heads},
                                 {"num_key_value_heads", m.kv_heads},
                                 {"max_position_embeddings", m.positions},
                                 {"rms_norm_eps", 1e-5},
                                 {"rope_theta", 10000.0},
                                 {"tie_word_embeddings", false},
                                 {"bos_token_id", 1},
                                 {"eos_token_id", 2}};
  write_text_file(folder / "config.json", config.dump(1));
}

/// What a recipe on such a model works on.
class Planning : public testing::Test {
 protected:
  plan::Workload work_of(const std::string& recipe_text, const LlamaSizes& sizes = {}) {
    write_config_alone(folder_.path() / "model", sizes);
    recipes::Recipe recipe = recipes::Recipe::parse(recipe_text, "test");
    recipe.set("model.path=" + (folder_.path() / "model").string());
    return plan::workload_of(run::open_shapes(recipe));
  }

  const TempFolder folder_;
};

}  // namespace sterna::tests
