// A run that cannot work says so before it reads weights: here there are none to read.
#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;

class EarlyMistakes : public tests::Verbs {
 protected:
  void SetUp() override {
    Verbs::SetUp();
    fs::remove(folder_ / "model/model.safetensors");
  }

  /// What `sterna train` says to these overrides; the run's folder stays as it was.
  std::string error_of(const std::vector<std::string>& more) {
    EXPECT_EQ(sterna(training("r", more)), kUserError) << out_;
    return err_;
  }
};

TEST_F(EarlyMistakes, WithoutAnyTheWeightsAreMissed) {
  EXPECT_HAS(error_of({}), "model.safetensors");
}

TEST_F(EarlyMistakes, OfTheQuantizersPlan) {
  EXPECT_HAS(error_of({"quant.rule={match='*.dow_proj', weight='none'}"}),
             "\"*.dow_proj\" matches no weight matrix of this model");
  EXPECT_HAS(error_of({"quant.weight={name='minmax_sym', group=24}"}),
             "model.layers.0.self_attn.q_proj.weight [32, 32]: minmax_sym: group = 24 does not "
             "divide the 32 inputs");
  EXPECT_HAS(error_of({"train.freeze=['model.embed_token']"}),
             "command line: 'train.freeze': 'model.embed_token' matches no parameter");
}

TEST_F(EarlyMistakes, AValueForAWholeTable) {
  for (const char* wrong :
       {"quant=twn", "kd=gt", "train=3", "eval=text.txt", "export=dense", "run=3"})
    EXPECT_HAS(error_of({wrong}), "': expected a table, found ");
}

TEST_F(EarlyMistakes, OfScalesThatCannotBeTrainedAlone) {
  EXPECT_HAS(error_of({"train.only=scales"}),
             "command line: 'train.only': \"scales\" needs affine_learned, which has a scale to "
             "train; found twn for model.layers.0.self_attn.q_proj.weight");
  EXPECT_HAS(error_of({"train.only=scales", "quant.weight=none"}), "no matrix is quantized");
}

TEST_F(EarlyMistakes, OfBitsToShareOut) {
  const std::string weight = "quant.weight={name='affine_learned', group=16}";
  EXPECT_HAS(error_of({weight, "quant.budget_bits=2", "quant.budget_text=" + path("text.txt")}),
             "command line: 'quant.budget_bits': 2.0 bits of a weight are not enough");
  EXPECT_HAS(error_of({weight, "quant.budget_bits=4", "quant.budget_text=" + path("none.txt")}),
             "command line: 'quant.budget_text': " + path("none.txt") + ": cannot be opened");
  EXPECT_HAS(error_of({"quant.budget_bits=4", "quant.budget_text=" + path("text.txt")}),
             "'quant.budget_candidates': quant.weight cannot be given bits = 2");
}

TEST_F(EarlyMistakes, OfTexts) {
  EXPECT_HAS(error_of({"eval.text=" + path("none.txt"), "eval.window=16"}),
             "none.txt: cannot be opened");
  EXPECT_HAS(error_of({"export.format=sterna", "verify.text=" + path("none.txt")}),
             "'verify.text': " + path("none.txt") + ": cannot be opened");
  EXPECT_HAS(error_of({"export.format=sterna", "verify.text=" + path("text.txt")}),
             "'verify.text': windows of 512 tokens, but the model was made for at most 256");
  EXPECT_HAS(error_of({"eval.text=" + path("text.txt"), "eval.window=16", "eval.prompts=['']"}),
             "command line: 'eval.prompts': '': generate: the prompt is empty");
}

TEST_F(EarlyMistakes, OfLengths) {
  EXPECT_HAS(error_of({"train.seq_len=257"}),
             "command line: 'train.seq_len': 257 tokens, but " + path("model") + " was made for");
  EXPECT_HAS(error_of({"blockwise.samples=1", "blockwise.seq_len=300"}),
             "command line: 'blockwise.seq_len': 300 tokens, but ");
  EXPECT_HAS(error_of({"eval.text=" + path("text.txt"), "eval.window=258"}),
             "command line: 'eval.window': 258 tokens, but ");
  tests::write_tiny_model(folder_ / "teacher");
  std::string config = tests::read_file(folder_ / "teacher/config.json");
  config.replace(config.find("256", config.find("max_position")), 3, "16");
  tests::write_file(folder_ / "teacher/config.json", config);
  EXPECT_HAS(error_of({"teacher.path=" + path("teacher")}),
             "tiny_kl.toml:4:1: 'train.seq_len': 32 tokens, but " + path("teacher") +
                 " was made for at most 16 positions");
}

TEST_F(EarlyMistakes, OfSpecialTokensThatTheTokenizerLacks) {
  EXPECT_HAS(error_of({"data.end=two words"}),
             "command line: 'data.end': \"two words\" is 9 tokens of this tokenizer, not one");
  forget("model", "bos_token_id");
  EXPECT_HAS(error_of({"data.bos=document"}),
             "command line: 'data.bos': \"document\", but the tokenizer has no start token");
  EXPECT_HAS(error_of({"eval.text=" + path("text.txt"), "eval.window=16", "eval.bos=start"}),
             "command line: 'eval.bos': asks for a start token");
  forget("model", "eos_token_id");
  fs::remove(folder_ / "model/tokenizer_config.json");
  EXPECT_HAS(error_of({}), "command line: 'data.end': \"auto\", but the tokenizer has no end");
}

TEST_F(EarlyMistakes, OfTheTeachersTokenizer) {
  tests::write_tiny_model(folder_ / "teacher");
  std::string tokenizer = tests::read_file(folder_ / "teacher/tokenizer.json");
  tokenizer.replace(tokenizer.find("<|end|>"), 7, "<|fin|>");
  tests::write_file(folder_ / "teacher/tokenizer.json", tokenizer);
  EXPECT_HAS(error_of({"teacher.path=" + path("teacher")}),
             "command line: 'teacher.path': the tokenizers differ: id 256 is '<|fin|>' in " +
                 path("teacher") + " and '<|end|>' in " + path("model"));
  EXPECT_HAS(error_of({"teacher.path=" + path("teacher"), "kd.loss=gt"}), "model.safetensors");
}

TEST_F(EarlyMistakes, ATokenizerThatTheEmbeddingIsTooSmallFor) {
  std::string config = tests::read_file(folder_ / "model/config.json");
  config.replace(config.find("257", config.find("vocab_size")), 3, "256");
  tests::write_file(folder_ / "model/config.json", config);
  const std::string wanted =
      path("model") + ": the tokenizer has 257 tokens, the embedding only 256 rows";
  EXPECT_HAS(error_of({}), wanted);
  for (const std::vector<std::string>& verb : std::vector<std::vector<std::string>>{
           {"eval", path("model"), "eval.text=" + path("text.txt"), "eval.window=16"},
           {"generate", path("model"), "--prompt", "a"},
           {"quantize", path("model"), "--out", path("q"), "quant.weight=twn"}}) {
    EXPECT_EQ(sterna(verb), kUserError) << verb.front();
    EXPECT_HAS(err_, wanted);
  }
}

TEST_F(EarlyMistakes, OfTheRunFolder) {
  tests::write_file(folder_ / "file", "x");
  EXPECT_HAS(error_of({"run.dir=" + path("file")}), "cannot create the run folder");
  fs::create_directories(folder_ / "runs/r/checkpoints/step-1");
  EXPECT_HAS(error_of({}), "holds a run already");
  EXPECT_EQ(sterna(training("fresh", {"--resume"})), kUserError);
  EXPECT_HAS(err_, "no run to resume");
  EXPECT_FALSE(fs::exists(folder_ / "runs/fresh"));
  EXPECT_HAS(error_of({"run.name=''"}), "command line: 'run.name': is empty");
}

TEST_F(EarlyMistakes, OfAPlanForQuantize) {
  const auto error = [&](const std::string& plan) {
    EXPECT_EQ(sterna({"quantize", path("model"), "--out", path("q"), plan}), kUserError);
    return err_;
  };
  EXPECT_HAS(error("quant.weight={name='minmax_sym', group=0}"), "model.safetensors");
  EXPECT_HAS(error("quant.weight={name='minmax_sym', group=24}"), "does not divide the 32 inputs");
}

}  // namespace
}  // namespace sterna::cli
