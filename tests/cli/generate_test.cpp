// What `generate` writes: transformers' greedy text, piece by piece, and the same sample for the
// same seed.
#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"

namespace sterna::cli {
namespace {

namespace fs = std::filesystem;

/// Counts how often what was written is pushed out.
class Pieces : public std::stringbuf {
 public:
  int flushed_with_text = 0;

 protected:
  int sync() override {
    flushed_with_text += str().size() > seen_ ? 1 : 0;
    seen_ = str().size();
    return 0;
  }

 private:
  size_t seen_ = 0;
};

/// The golden model, with a tokenizer whose id i is the character 32 + i.
class Generate : public tests::Verbs {
 protected:
  void SetUp() override {
    const fs::path model = folder_ / "golden";
    fs::copy(tests::source_dir() / "tests/golden/tiny_llama", model);
    tests::write_byte_tokenizer(model);
    nlohmann::json tokenizer = nlohmann::json::parse(tests::read_file(model / "tokenizer.json"));
    nlohmann::json vocab;
    for (int i = 0; i < 64; ++i)
      vocab[tests::byte_character(32 + i)] = i;
    tokenizer["model"]["vocab"] = vocab;
    tokenizer["added_tokens"] = nlohmann::json::array();
    tests::write_file(model / "tokenizer.json", tokenizer.dump());
    fs::remove(model / "tokenizer_config.json");
  }

  std::string sampled(const std::string& seed) {
    EXPECT_EQ(sterna({"generate",
                      path("golden"),
                      "--prompt",
                      "GULL",
                      "--max-new",
                      "40",
                      "--temperature",
                      "1",
                      "--seed",
                      seed}),
              kDone)
        << err_;
    return out_;
  }
};

TEST_F(Generate, StreamsTheGreedyTextOfTransformers) {
  Pieces pieces;
  std::ostream out(&pieces);
  std::ostringstream err;
  ASSERT_EQ(
      run_program(
          {"sterna", "generate", path("golden"), "--prompt", "FLY SOUTH 7", "--max-new", "24"},
          {out, err}),
      kDone)
      << err.str();
  EXPECT_EQ(pieces.str(), "D!!PPPPPPPPPPPPPPPPPPPPP\n");
  EXPECT_GE(pieces.flushed_with_text, 24) << "a token at a time";
  EXPECT_HAS(err.str(), "24 written at ");
}

TEST_F(Generate, TheSameSeedGivesTheSameTextAndAnotherAnotherOne) {
  const std::string first = sampled("5");
  EXPECT_EQ(sampled("5"), first);
  EXPECT_NE(sampled("6"), first);
}

TEST_F(Generate, ChatPutsThePromptIntoTheCheckpointsTemplate) {
  const auto chat_template = [&](const std::string& text) {
    tests::write_file(folder_ / "golden/tokenizer_config.json",
                      nlohmann::json({{"chat_template", text}}).dump());
  };
  const auto answer = [&](const std::string& prompt, bool chat) {
    std::vector<std::string> all = {
        "generate", path("golden"), "--prompt", prompt, "--max-new", "12"};
    if (chat)
      all.push_back("--chat");
    EXPECT_EQ(sterna(all), kDone) << err_;
    return out_;
  };
  chat_template(
      "{% for m in messages %}[{{ m.role | upper }}] {{ m.content }} {% endfor %}"
      "{% if add_generation_prompt %}[BOT]{% endif %}");
  EXPECT_EQ(answer("FLY SOUTH 7", true), answer("[USER] FLY SOUTH 7 [BOT]", false));
  EXPECT_NE(answer("FLY SOUTH 7", true), answer("FLY SOUTH 7", false));

  // What cannot be rendered is named before weights are read.
  fs::remove(folder_ / "golden/model.safetensors");
  const std::vector<std::string> asking = {"generate", path("golden"), "--prompt", "A", "--chat"};
  chat_template("{% for m in messages %}{{ m.content | frobnicate }}{% endfor %}");
  EXPECT_EQ(sterna(asking), kUserError);
  EXPECT_HAS(err_, "the filter 'frobnicate'");
  EXPECT_EQ(out_, "");
  fs::remove(folder_ / "golden/tokenizer_config.json");
  EXPECT_EQ(sterna(asking), kUserError);
  EXPECT_HAS(err_, "this checkpoint has no chat template; give the prompt as plain text");
}

}  // namespace
}  // namespace sterna::cli
