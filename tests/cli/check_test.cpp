#include <filesystem>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "trainer/cli/command.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;

/// A folder with a model's configuration, its tokenizer, a text and a recipe; no weights, because
/// `check` reads none.
class Check : public testing::Test {
 protected:
  Check() {
    fs::create_directories(folder_ / "model");
    fs::copy_file(tests::golden_tokenizers() / "smollm.json",
                  folder_ / "model/tokenizer.json",
                  fs::copy_options::overwrite_existing);
    write("model/config.json", R"({"model_type": "llama", "architectures": ["LlamaForCausalLM"],
      "vocab_size": 4096, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128,
      "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu", "bos_token_id": 0,
      "eos_token_id": 0, "tie_word_embeddings": true})");
    std::string text;
    for (int i = 0; i < 60; ++i)
      text += "the quick brown fox number " + std::to_string(i) + " jumps. ";
    write("text.txt", text);
    write("r.toml",
          "[model]\npath = '" + (folder_ / "model").string() + "'\n[data]\ntext = '" +
              (folder_ / "text.txt").string() + "'\ncache = '" + (folder_ / "cache").string() +
              "'\n[train]\nsteps = 2\nseq_len = 16\n"
              "[quant]\nweight = { name = 'minmax_sym', bits = 4, group = 32 }\n"
              "[[quant.rule]]\nmatch = '*.down_proj'\nweight = 'none'\n");
  }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
  }

  /// Exit code of `sterna check r.toml ...`; its output is kept.
  int check(std::vector<std::string> more = {}) {
    std::vector<std::string> arguments{"sterna", "check", (folder_ / "r.toml").string()};
    arguments.insert(arguments.end(), more.begin(), more.end());
    std::ostringstream out, err;
    const int code = run_program(arguments, {out, err});
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  bool prints(const std::string& text) const { return out_.find(text) != std::string::npos; }

  tests::TempFolder folder_;
  std::string out_;
  std::string err_;
};

TEST_F(Check, PrintsTheResolvedRecipeAndALineForEveryMatrix) {
  ASSERT_EQ(check(), kDone) << err_;
  EXPECT_TRUE(prints("[train]\n"));
  EXPECT_TRUE(prints("accumulate = 1\n")) << "a default";
  EXPECT_TRUE(prints("model.layers.1.self_attn.k_proj.weight  [32, 64]")) << out_;
  EXPECT_TRUE(prints("model.layers.1.mlp.down_proj.weight     [64, 96]    rule 1: *.down_proj"));
  EXPECT_TRUE(prints("model.embed_tokens.weight               [4096, 64]  outside the blocks"));
  EXPECT_TRUE(prints("quantized: 12 matrices, ")) << out_;
  EXPECT_TRUE(prints("4.5000 bits per weight"));
  EXPECT_FALSE(prints("--- sample"));
}

TEST_F(Check, SaysOfEveryExportFormatWhetherItHoldsTheRecipeExactlyAndIfNotWhy) {
  ASSERT_EQ(check(), kDone) << err_;
  EXPECT_TRUE(prints("export sterna: exact\n")) << out_;
  EXPECT_TRUE(prints("export compressed-tensors: exact\n")) << out_;
  const std::string first = "tensor 'model.layers.0.mlp.gate_proj.weight'";
  EXPECT_TRUE(prints("export dense: not exactly: " + first + ": its values are rounded once more"));
  EXPECT_TRUE(prints("export hf-bitnet: not exactly: " + first + ": its codes of 4 bits do not"));
  const std::string plain = "tensor 'model.layers.0.mlp.down_proj.weight' is in full precision";
  EXPECT_TRUE(prints("export gptq: not exactly: " + plain)) << out_;
  EXPECT_EQ(check({"export.format=gptq"}), kUserError) << "as training is refused";
  EXPECT_NE(err_.find("'export.format'"), std::string::npos) << err_;
  EXPECT_NE(err_.find(plain), std::string::npos) << err_;
}

TEST_F(Check, PrintsSamplesWithTheirLossMask) {
  ASSERT_EQ(check({"--samples", "2"}), kDone) << err_;
  EXPECT_TRUE(prints("--- sample 0"));
  EXPECT_TRUE(prints("--- sample 1"));
  EXPECT_FALSE(prints("--- sample 2"));
  EXPECT_TRUE(prints(" number ")) << out_;
  EXPECT_TRUE(prints("[[")) << "the first token is no target";
}

TEST_F(Check, PrintsWhatOfAPairCarriesLossAndWhereDocumentsEnd) {
  write("pairs.jsonl",
        R"({"question": "the fox?", "answer": " jumps"})"
        "\n"
        R"({"question": "a fox?", "answer": " jumps"})");
  ASSERT_EQ(check({"--samples",
                   "1",
                   "data.text=" + (folder_ / "pairs.jsonl").string(),
                   "data.format=pairs",
                   "data.prompt=question",
                   "data.response=answer",
                   "data.end=none",
                   "train.seq_len=40"}),
            kDone)
      << err_;
  EXPECT_TRUE(prints("of 40 targets carry loss")) << out_;
  EXPECT_TRUE(prints("[[the fox?]] jumps\n=====\n[[a fox?]] jumps")) << out_;
}

TEST_F(Check, SaysWhatEachOfSoManyRanksGetsAndRefusesWhatDoesNotDivide) {
  ASSERT_EQ(check({"--world", "2", "train.batch=4", "train.accumulate=2"}), kDone) << err_;
  EXPECT_TRUE(
      prints("ranks: 8 samples a step (the global batch): on each of 2 ranks 1 micro-batch of 4"))
      << out_;
  EXPECT_EQ(check({"--world", "3", "train.batch=4", "train.accumulate=2"}), kUserError);
  EXPECT_NE(err_.find("take train.accumulate=3, or 1, 2, 4 or 8 ranks"), std::string::npos) << err_;
}

TEST_F(Check, OverridesReachTheTable) {
  ASSERT_EQ(check({"quant.weight=twn", "quant.rule.0.weight={name='minmax_asym',bits=2,group=48}"}),
            kDone)
      << err_;
  EXPECT_TRUE(prints("default              twn"));
  EXPECT_TRUE(prints("minmax_asym  2     48"));
}

TEST_F(Check, MistakesEndWithTwoAndNothingOnOut) {
  for (const char* mistake : {"quant.wieght=twn",
                              "quant.weight=tnw",
                              "quant.weight.bits=9",
                              "quant.weight.group=60",
                              "quant.rule.0.match=*.dow_proj",
                              "train.seq_len=0",
                              "train.steps=many",
                              "model.path=/nowhere",
                              "teacher.path=/nowhere",
                              "data.text=/nowhere",
                              "kd.loss=klm"}) {
    EXPECT_EQ(check({mistake}), kUserError) << mistake;
    EXPECT_EQ(out_, "") << mistake;
    EXPECT_EQ(err_.find("error: "), 0u) << mistake;
  }
}

TEST_F(Check, WhatIsNotThereIsSaidOfTheLineThatNamesIt) {
  const std::string file = (folder_ / "r.toml").string();
  const std::string model = "[model]\npath = '" + (folder_ / "model").string() + "'\n";
  const std::string rest = "[train]\nsteps = 2\nseq_len = 16\n[data]\ntext = '" +
                           (folder_ / "text.txt").string() + "'\ncache = '" +
                           (folder_ / "cache").string() + "'\n";
  const auto error_of = [&](const std::string& recipe) {
    write("r.toml", recipe);
    EXPECT_EQ(check(), kUserError);
    return err_;
  };
  const auto expect = [&](const std::string& recipe, const std::string& wanted) {
    EXPECT_NE(error_of(recipe).find("error: " + file + wanted), std::string::npos) << err_;
  };
  write("r.toml", model + rest);
  ASSERT_EQ(check(), kDone) << err_;
  expect("[model]\npath = '/nofile'\n" + rest,
         ":2:1: 'model.path': /nofile: no such file or folder");
  expect(model + "[teacher]\npath = '/nofile'\n" + rest + "[kd]\nloss = 'kl'\n",
         ":4:1: 'teacher.path': /nofile: no such file or folder");
  expect(model + rest + "[eval]\ntext = '/nofile'\nwindow = 8\n",
         ":10:1: 'eval.text': /nofile: cannot be opened");
  expect(model + rest + "[export]\nformat = 'sterna'\n[verify]\ntext = '/nofile'\n",
         ":12:1: 'verify.text': /nofile: cannot be opened");
  expect(model + "[train]\nsteps = 2\nseq_len = 16\n[data]\ntext = '/nofile'\n",
         ":7:1: 'data.text': /nofile: cannot be opened");
  // What is missing is of the file, not of "recipe"; a typo is shown before what it leaves missing.
  expect(rest, ": 'model.path': expected the checkpoint to start from");
  error_of("[model]\npaht = '" + (folder_ / "model").string() + "'\n" + rest);
  EXPECT_NE(err_.find("model.paht"), std::string::npos) << err_;
  EXPECT_EQ(err_.find("expected the checkpoint"), std::string::npos) << err_;
}

TEST_F(Check, AMissingOrSecondRecipeIsAMistake) {
  std::ostringstream out, err;
  EXPECT_EQ(run_program({"sterna", "check"}, {out, err}), kUserError);
  EXPECT_EQ(run_program({"sterna", "check", "none.toml"}, {out, err}), kUserError);
  EXPECT_NE(err.str().find("none.toml: cannot open recipe"), std::string::npos);
}

TEST(List, ShowsEveryKindOrOne) {
  const auto list = [](std::vector<std::string> kind) {
    kind.insert(kind.begin(), {"sterna", "list"});
    std::ostringstream out, err;
    const int code = run_program(kind, {out, err});
    return std::pair(code, out.str() + err.str());
  };
  const auto [code, all] = list({});
  EXPECT_EQ(code, kDone);
  for (const char* entry : {"quantizer twn: ", "divergence ", "weighting ", "section train: "})
    EXPECT_NE(all.find(entry), std::string::npos) << entry;
  const auto [one_code, one] = list({"quantizer"});
  EXPECT_EQ(one_code, kDone);
  EXPECT_EQ(one.find("section train"), std::string::npos);
  EXPECT_NE(one.find("threshold = 0.7  (number, 0.0 to 2.0)"), std::string::npos);
  EXPECT_EQ(list({"quantiser"}),
            std::pair(kUserError,
                      std::string("error: no kind of component is called 'quantiser'; did you mean "
                                  "'quantizer'?\n")));
}

/// Keys of a table and of the tables in it, "rule" for the entries of "rule".
void require_listed(recipes::Section table, const std::string& name, const std::string& listed) {
  const size_t begin = listed.find("section " + name + ": ");
  ASSERT_NE(begin, std::string::npos) << name;
  std::string own = listed.substr(begin, listed.find("\nsection ", begin) - begin);
  if (name == "kd.loss") {
    std::ostringstream fields, err;  // of the divergence that the entry names
    run_program({"sterna", "list", "divergence"}, {fields, err});
    own += fields.str();
  }
  for (const std::string& key : table.keys()) {
    if (key == "rule" || (name == "kd" && key == "loss")) {
      for (const recipes::Section& entry : table.tables(key))
        require_listed(entry, name + "." + key, listed);
    }
    if (key != "rule") {
      EXPECT_NE(own.find("\n    " + key + " = "), std::string::npos) << name << "." << key;
    }
  }
}

TEST_F(Check, EveryKeyOfAResolvedRecipeIsListed) {
  ASSERT_EQ(
      check({"kd.loss={name='kl', weight=2.0}", "export.format=sterna", "blockwise.samples=1"}),
      kDone)
      << err_;
  recipes::Recipe resolved =
      recipes::Recipe::parse(out_.substr(0, out_.find("\ntensor ")), "resolved");
  std::ostringstream listed, err;
  ASSERT_EQ(run_program({"sterna", "list", "section"}, {listed, err}), kDone);
  EXPECT_NE(listed.str().find("section (top level): "), std::string::npos);
  const std::vector<std::string> tables = resolved.root().keys();
  EXPECT_GE(tables.size(), 10u);
  for (const std::string& name : tables)
    require_listed(resolved.section(name), name, listed.str());
}

}  // namespace
}  // namespace sterna::cli
