#include <fstream>

#include <ATen/Parallel.h>
#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"
#include "trainer/text/tokenizer.h"

namespace sterna::cli {
namespace {

class Eval : public tests::Verbs {
 protected:
  void SetUp() override {
    Verbs::SetUp();
    tests::write_file(folder_ / "other.txt", tests::tiny_text(30, 99));
  }

  /// The lines of the file that `sterna eval --json` wrote.
  std::vector<nlohmann::json> eval(const std::string& text,
                                   const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {
        "eval", path("model"), "eval.text=" + text, "eval.window=16", "--json", path("r.json")};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(sterna(all), kDone) << err_;
    std::vector<nlohmann::json> objects;
    std::ifstream lines(folder_ / "r.json");
    for (std::string line; std::getline(lines, line);)
      objects.push_back(nlohmann::json::parse(line));
    return objects;
  }

  nlohmann::json one(const std::string& text, const std::vector<std::string>& more = {}) {
    std::vector<std::string> all = {
        "eval", path("model"), "eval.text=" + text, "eval.window=16", "--json", path("r.json")};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(sterna(all), kDone) << err_;
    return nlohmann::json::parse(tests::read_file(folder_ / "r.json"));
  }
};

TEST_F(Eval, EachTextIsEvaluatedApartWithALineOfJsonForEach) {
  const auto both = eval("['" + path("text.txt") + "', '" + path("other.txt") + "']");
  ASSERT_EQ(both.size(), 2u);
  EXPECT_HAS(out_, "text.txt: perplexity ");
  EXPECT_HAS(out_, "\nother.txt: perplexity ");
  for (const nlohmann::json& each : both) {
    EXPECT_EQ(each.at("format"), 1);
    const nlohmann::json alone = one(path(each.at("text")));
    for (const char* key : {"text", "ppl", "tokens", "predicted_tokens"})
      EXPECT_EQ(each.at(key), alone.at(key)) << key;
  }
  EXPECT_EQ(both[0].at("text"), "text.txt");
  EXPECT_NE(both[0].at("ppl"), both[1].at("ppl"));
}

TEST_F(Eval, JsonSaysByWhichRuleItWasScored) {
  const nlohmann::json plain = one(path("text.txt"));
  EXPECT_EQ(plain.at("score"), "all");
  EXPECT_EQ(plain.at("overlap_target"), false);
  const nlohmann::json other =
      one(path("text.txt"), {"eval.score=half", "eval.overlap_target=true"});
  EXPECT_EQ(other.at("score"), "half");
  EXPECT_EQ(other.at("overlap_target"), true);
}

TEST_F(Eval, JsonHoldsTheFieldsThatScriptsReadWithAReferenceAndWithout) {
  const std::vector<std::string> always = {"format",
                                           "nll",
                                           "ppl",
                                           "ppl_stderr",
                                           "predicted_tokens",
                                           "tokens",
                                           "window",
                                           "stride",
                                           "bos",
                                           "dtype",
                                           "seconds"};
  const nlohmann::json alone = one(path("text.txt"));
  for (const std::string& key : always)
    EXPECT_TRUE(alone.contains(key)) << key;
  for (const char* key : {"kld", "same_top", "ppl_ratio"})
    EXPECT_FALSE(alone.contains(key)) << key;
  tests::write_tiny_model(folder_ / "other", {.seed = 8});
  const nlohmann::json compared = one(path("text.txt"), {"eval.reference=" + path("other")});
  for (const std::string& key : always)
    EXPECT_TRUE(compared.contains(key)) << key;
  for (const char* key : {"mean", "median", "p95", "p99", "p999", "max"})
    EXPECT_GT(compared.at("kld").at(key).get<double>(), 0) << key;
  EXPECT_LT(compared.at("same_top").get<double>(), 1);
  EXPECT_GT(compared.at("ppl_ratio").get<double>(), 0);
}

TEST_F(Eval, MistakesNameThePlaceOfTheirKey) {
  std::filesystem::remove(folder_ / "model/model.safetensors");
  const auto error_of = [&](const std::string& recipe, const std::vector<std::string>& more = {}) {
    tests::write_file(folder_ / "e.toml", "[train]\nsteps = 1\n[eval]\n" + recipe);
    std::vector<std::string> all = {"eval", path("model"), path("e.toml")};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(sterna(all), kUserError);
    return err_;
  };
  const std::string file = path("e.toml");
  const std::string text = "text = '" + path("text.txt") + "'\n";
  EXPECT_HAS(error_of(text + "window = 16\n"), "model.safetensors");
  EXPECT_HAS(error_of("text = '/nofile'\n"), file + ":4:1: 'eval.text': /nofile: cannot be opened");
  EXPECT_HAS(error_of(text + "stride = 2000\n"), file + ":5:1: 'eval.stride': 2000 would leave");
  EXPECT_HAS(error_of(text + "window = 16\nreference = '/no'\n"),
             file + ":6:1: 'eval.reference': /no: no such file or folder");
  forget("model", "bos_token_id");
  EXPECT_HAS(error_of(text + "window = 16\nbos = 'start'\n"),
             file + ":6:1: 'eval.bos': asks for a start token, but the tokenizer has none");
  EXPECT_HAS(error_of(text + "window = 16\n", {"eval.bos=document"}),
             "command line: 'eval.bos': asks for a start token");
}

TEST_F(Eval, MistakesShowBeforeWeightsAreRead) {
  std::filesystem::remove(folder_ / "model/model.safetensors");
  tests::write_file(folder_ / "short.txt", "a");
  std::filesystem::create_directories(folder_ / "same");
  tests::write_file(folder_ / "same/text.txt", "ab");
  tests::write_tiny_model(folder_ / "bigger", {.vocab = 258});
  const auto error_of = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = {
        "eval", path("model"), "eval.text=" + path("text.txt"), "eval.window=16"};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_EQ(sterna(all), kUserError);
    return err_;
  };
  EXPECT_HAS(error_of({}), "model.safetensors");
  EXPECT_HAS(error_of({"--json", path("none/x.json")}), "none/x.json");
  EXPECT_HAS(error_of({"eval.text=" + path("none.txt")}), "none.txt: cannot be opened");
  EXPECT_HAS(error_of({"eval.text=" + path("short.txt")}), "at least two are needed");
  EXPECT_HAS(error_of({"eval.text=['" + path("text.txt") + "', '" + path("same/text.txt") + "']"}),
             "two files are called text.txt");
  EXPECT_HAS(error_of({"eval.stride=2000"}), "stride <= window");
  EXPECT_HAS(error_of({"eval.window=257"}), "made for at most 256 positions");
  EXPECT_HAS(error_of({"eval.reference=" + path("none")}), "none: no such file or folder");
  EXPECT_HAS(error_of({"eval.reference=" + path("bigger")}), "a vocabulary of 258");
}

TEST_F(Eval, AReferenceWhoseIdsMeanOtherTokensIsRefused) {
  tests::write_tiny_model(folder_ / "renamed");
  nlohmann::json tokenizer =
      nlohmann::json::parse(tests::read_file(folder_ / "renamed/tokenizer.json"));
  nlohmann::json& vocab = tokenizer.at("model").at("vocab");
  std::swap(vocab.at("x"), vocab.at("y"));
  tests::write_file(folder_ / "renamed/tokenizer.json", tokenizer.dump());
  const auto eval = [&] {
    return sterna({"eval",
                   path("model"),
                   "eval.text=" + path("text.txt"),
                   "eval.window=16",
                   "eval.max_windows=1",
                   "eval.reference=" + path("renamed")});
  };
  EXPECT_EQ(eval(), kUserError);
  EXPECT_HAS(err_, "'eval.reference': the tokenizers differ: id 120 is 'y' in " + path("renamed"));
  EXPECT_HAS(err_, "'x' in " + path("model"));
  // Another way to cut text, and so another fingerprint, is not another vocabulary.
  std::swap(vocab.at("x"), vocab.at("y"));
  tokenizer.at("pre_tokenizer").at("use_regex") = false;
  tests::write_file(folder_ / "renamed/tokenizer.json", tokenizer.dump());
  EXPECT_NE(text::open_tokenizer(folder_ / "renamed")->fingerprint(),
            text::open_tokenizer(folder_ / "model")->fingerprint());
  EXPECT_EQ(eval(), kDone) << err_;
  // Weights alone have no tokenizer to compare.
  std::filesystem::remove(folder_ / "renamed/tokenizer.json");
  EXPECT_EQ(eval(), kDone) << err_;
}

TEST_F(Eval, EveryVerbComputesWithTheThreadsOfTheEnvironmentUnlessTheRecipeNamesSome) {
  const int before = at::get_num_threads();
  const std::vector<std::string> generate = {
      "generate", path("model"), "--prompt", "a", "--max-new", "1"};
  const std::vector<std::string> evaluate = {
      "eval", path("model"), "eval.text=" + path("other.txt"), "eval.window=16"};
  for (const auto& verb : {generate, evaluate}) {
    setenv("STERNA_THREADS", "3", 1);
    EXPECT_EQ(sterna(verb), kDone) << err_;
    EXPECT_EQ(at::get_num_threads(), 3) << verb.front();
    setenv("STERNA_THREADS", "many", 1);
    EXPECT_EQ(sterna(verb), kUserError);
    EXPECT_HAS(err_, "STERNA_THREADS: expected a number from 0 to 1024, found 'many'");
  }
  setenv("STERNA_THREADS", "3", 1);
  auto named = evaluate;
  named.push_back("train.threads=2");
  EXPECT_EQ(sterna(named), kDone) << err_;
  EXPECT_EQ(at::get_num_threads(), 2);
  unsetenv("STERNA_THREADS");
  at::set_num_threads(before);
}

}  // namespace
}  // namespace sterna::cli
