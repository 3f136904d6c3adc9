// The recipes that carry papers' names: each is accepted where its checkpoint is there, says what
// is missing where it is not, and trains on a tiny model of its family.
#include <algorithm>
#include <cstdlib>

#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"
#include "tests/support/tiny_families.h"

namespace sterna::cli {
namespace {

using nlohmann::json;

/// Sizes of the real checkpoint.
json llama(int64_t width, int64_t inner, int64_t layers, int64_t heads, int64_t kv_heads) {
  return {{"model_type", "llama"},
          {"vocab_size", 32000},
          {"hidden_size", width},
          {"intermediate_size", inner},
          {"num_hidden_layers", layers},
          {"num_attention_heads", heads},
          {"num_key_value_heads", kv_heads},
          {"max_position_embeddings", 4096}};
}
json opt_1_3b() {
  return {{"model_type", "opt"},
          {"vocab_size", 50272},
          {"hidden_size", 2048},
          {"ffn_dim", 8192},
          {"num_hidden_layers", 24},
          {"num_attention_heads", 32},
          {"max_position_embeddings", 2048}};
}
json gpt2() {
  return {{"model_type", "gpt2"},
          {"vocab_size", 50257},
          {"n_embd", 768},
          {"n_layer", 12},
          {"n_head", 12},
          {"n_positions", 1024}};
}

struct Paper {
  std::string recipe;
  json config;
  std::string twin = "llama";  ///< family of its tiny model
  int64_t bits = 0;            ///< of a code of the blocks' matrices; 0: full precision
  std::vector<std::string> shrunk{};
};

std::vector<Paper> papers() {
  const json small = llama(2048, 8192, 16, 32, 8);
  const json seven = llama(4096, 11008, 32, 32, 32);
  const std::vector<std::string> grouped{"quant.weight.group=32"};
  const std::vector<std::string> blocks{
      "quant.weight.group=32", "blockwise.samples=4", "blockwise.seq_len=32"};
  const std::vector<std::string> ruled{
      "quant.weight.group=32", "quant.rule.0.weight.group=32", "quant.rule.1.weight.group=32"};
  return {{"tsld_opt1.3b_finetune", opt_1_3b(), "opt", 0},
          {"tsld_opt1.3b", opt_1_3b(), "opt", 2},
          {"tsld_llama7b_finetune", seven, "llama", 0},
          {"tsld_llama7b", seven, "llama", 2},
          {"paretoq_158bit", small, "llama", 2},
          {"paretoq_2bit", small, "llama", 2},
          {"paretoq_3bit", small, "llama", 3},
          {"paretoq_4bit", small, "llama", 4},
          {"efficientqat_2bit", seven, "llama", 2, blocks},
          {"efficientqat_3bit", seven, "llama", 3, blocks},
          {"bitdistiller_2bit", seven, "llama", 2, ruled},
          {"bitdistiller_3bit", seven, "llama", 3, grouped},
          {"afm_2bit", llama(3072, 8192, 28, 24, 8), "llama", 2},
          {"quantgpt_gpt2", gpt2(), "gpt2", 2}};
}

class Papers : public tests::Verbs, public testing::WithParamInterface<Paper> {
 protected:
  void SetUp() override {
    setenv("STERNA_CACHE", path("cache").c_str(), /*overwrite=*/1);
    setenv("STERNA_DATA", path("data").c_str(), /*overwrite=*/0);
    tests::write_file(folder_ / "text.txt", tests::tiny_text(400));
  }
  void TearDown() override { unsetenv("STERNA_CACHE"); }

  std::vector<std::string> arguments(const std::string& verb,
                                     const std::vector<std::string>& more) const {
    std::vector<std::string> all{verb, recipe()};
    all.insert(all.end(), more.begin(), more.end());
    for (const char* key : {"data.text=", "eval.text="})
      all.push_back(key + path("text.txt"));
    all.push_back("data.cache=" + path("tokens"));
    return all;
  }

  std::string recipe() const {
    return (tests::source_dir() / "recipes" / (GetParam().recipe + ".toml")).string();
  }
};

TEST_P(Papers, IsAcceptedWhereItsCheckpointIsThere) {
  std::filesystem::create_directories(folder_ / "model");
  tests::write_file(folder_ / "model/config.json", GetParam().config.dump());
  tests::write_byte_tokenizer(folder_ / "model");
  ASSERT_EQ(sterna(arguments("check", {"model.path=" + path("model"), "eval.bos=none"})), kDone)
      << err_;
  EXPECT_EQ(out_.find("quantized: 0 matrices") != std::string::npos, GetParam().bits == 0) << out_;
}

TEST_P(Papers, SaysWhatIsMissingWhereItIsNot) {
  EXPECT_EQ(sterna({"check", recipe()}), kUserError);
  EXPECT_EQ(err_.find("error: " + (tests::source_dir() / "recipes").string()), 0u) << err_;
  EXPECT_HAS(err_, "'model.path': ");
  EXPECT_HAS(err_, ": no such file or folder");
}

TEST_P(Papers, TrainsATinyModelOfItsFamily) {
  if (GetParam().twin == "llama") {
    tests::TinyModel shape;
    shape.width = 64;
    shape.inner = 128;
    shape.tied = true;
    tests::write_tiny_model(folder_ / "model", shape);
  } else {
    tests::write_tiny_family(folder_ / "model", GetParam().twin);
  }
  std::vector<std::string> more{(tests::source_dir() / "recipes/tests/tiny_paper.toml").string(),
                                "model.path=" + path("model"),
                                "verify.text=" + path("text.txt"),
                                "run.dir=" + path("runs"),
                                "run.name=twin"};
  more.insert(more.end(), GetParam().shrunk.begin(), GetParam().shrunk.end());
  ASSERT_EQ(sterna(arguments("train", more)), kDone) << err_ << out_;
  const json stored =
      json::parse(tests::read_file(path("runs/twin/export/sterna/sterna.json"))).at("tensors");
  int64_t coded = 0;
  for (const auto& [name, storage] : stored.items()) {
    if (storage.at("storage") != "codes" || name.find("embed") != std::string::npos)
      continue;
    ++coded;
    EXPECT_EQ(storage.at("bits"), GetParam().bits) << name;
  }
  EXPECT_EQ(coded > 0, GetParam().bits > 0);
  if (GetParam().recipe == "afm_2bit") {
    EXPECT_EQ(stored.at("model.embed_tokens.weight").at("bits"), 4);
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, Papers, testing::ValuesIn(papers()), [](const auto& paper) {
  std::string name = paper.param.recipe;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

}  // namespace
}  // namespace sterna::cli
