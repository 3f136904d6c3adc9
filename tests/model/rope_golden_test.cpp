// RoPE as configurations say it against what transformers computed (scripts/golden/make_models.py).
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"
#include "trainer/io/json.h"
#include "trainer/model/config.h"

namespace sterna::model {
namespace {

using nlohmann::json;

/// The RoPE of a configuration with those keys among its own.
kvcache::Rope rope_of(const json& keys) {
  tests::TempFolder folder;
  json config = {{"model_type", "llama"},
                 {"vocab_size", 8},
                 {"intermediate_size", 8},
                 {"num_hidden_layers", 1},
                 {"num_attention_heads", 4}};
  config["hidden_size"] = 4 * keys.at("head_dim").get<int64_t>();
  config["head_dim"] = keys.at("head_dim");
  config["max_position_embeddings"] = keys.at("max_position_embeddings");
  for (const char* key : {"rope_theta", "rope_scaling", "rope_parameters"}) {
    if (keys.contains(key))
      config[key] = keys.at(key);
  }
  std::ofstream(folder / "config.json") << config;
  return kvcache::Rope(read_hf_config(folder.path()).rope);
}

void expect_case(const kvcache::Rope& rope, const json& expected) {
  const auto values = expected.at("inverse_frequencies").get<std::vector<double>>();
  const at::Tensor f = rope.inverse_frequencies(expected.at("length").get<int64_t>());
  ASSERT_EQ(f.numel(), static_cast<int64_t>(values.size()));
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_NEAR(f[static_cast<int64_t>(i)].item<double>() / values[i], 1, 1e-6) << i;
  EXPECT_NEAR(rope.attention_factor(), expected.at("attention_factor").get<double>(), 1e-12);
}

TEST(RopeGolden, EveryVariantHasTheFrequenciesAndFactorsOfTransformersInBothSpellings) {
  const json cases = io::read_json(tests::source_dir() / "tests/golden/rope.json");
  ASSERT_GT(cases.size(), 10u);
  for (const json& older : cases) {
    SCOPED_TRACE(older.at("rope_scaling").dump());
    expect_case(rope_of(older), older);
    json newer = older;
    newer["rope_parameters"] = older.at("rope_scaling");
    newer["rope_parameters"]["rope_theta"] = older.at("rope_theta");
    newer.erase("rope_scaling");
    newer.erase("rope_theta");
    expect_case(rope_of(newer), older);
  }
}

}  // namespace
}  // namespace sterna::model
