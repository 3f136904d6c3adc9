// Folders from before tokenizer.json: the files are taken out of the small tokenizers, so that
// their cases hold here too.
#include <fstream>

#include "recipes/user_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "tests/text/cases.h"

namespace sterna::text {
namespace {

using nlohmann::json;

class VocabularyFilesTest : public testing::Test {
 protected:
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }

  /// vocab.json and merges.txt of a small tokenizer, whose added tokens it returns by id.
  json write_bpe(const std::string& name) const {
    const json root = io::read_json(tests::golden_tokenizers() / (name + ".json"));
    write("vocab.json", root["model"]["vocab"].dump());
    std::string merges = "#version: 0.2\n";
    for (const json& merge : root["model"]["merges"])
      merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
    write("merges.txt", merges);
    json added = json::object();
    for (json token : root["added_tokens"]) {
      const std::string id = std::to_string(token["id"].get<int>());
      token.erase("id");
      added[id] = token;
    }
    return added;
  }

  std::vector<int32_t> ids(const std::string& text) const {
    return open_tokenizer(folder_)->encode(text);
  }

  std::string refusal() const {
    try {
      open_tokenizer(folder_);
    } catch (const recipes::UserError& error) {
      return error.what();
    }
    return "";
  }

  tests::TempFolder folder_;
};

TEST_F(VocabularyFilesTest, VocabularyAndMergesAreGpt2sTokenizer) {
  const json config = {{"tokenizer_class", "GPT2Tokenizer"},
                       {"add_prefix_space", true},
                       {"added_tokens_decoder", write_bpe("gpt2")}};
  write("tokenizer_config.json", config.dump());
  EXPECT_GT(tests::expect_cases(folder_, tests::golden_tokenizers() / "gpt2.cases.json"), 60u);
  EXPECT_TRUE(has_tokenizer(folder_));
  EXPECT_EQ(open_tokenizer(folder_ / "vocab.json")->fingerprint(),
            open_tokenizer(folder_)->fingerprint());
}

TEST_F(VocabularyFilesTest, QwensAreReadWithItsPatternAndNfc) {
  const json added = write_bpe("qwen2");
  write("tokenizer_config.json",
        json({{"tokenizer_class", "Qwen2Tokenizer"}, {"added_tokens_decoder", added}}).dump());
  EXPECT_GT(tests::expect_cases(folder_, tests::golden_tokenizers() / "qwen2.cases.json"), 60u);
}

TEST_F(VocabularyFilesTest, ModelTypeOfTheConfigTellsTheKindWhereNothingElseDoes) {
  write_bpe("qwen2");
  const std::string decomposed = "caf\u0065\u0301";
  const std::vector<int32_t> gpt2 = ids(decomposed);
  write("config.json", R"({"model_type": "qwen2"})");
  EXPECT_NE(ids(decomposed), gpt2);
  write("config.json", R"({"model_type": "whisper"})");
  EXPECT_NE(refusal().find("whisper"), std::string::npos) << refusal();
}

TEST_F(VocabularyFilesTest, SpecialTokensAreThoseThatTheSideFilesName) {
  write_bpe("gpt2");
  const size_t plain = ids("<s>").size();
  EXPECT_GT(plain, 1u);
  write("special_tokens_map.json", R"({"bos_token": {"content": "<s>", "rstrip": true}})");
  EXPECT_EQ(ids("<s>  ").size(), 1u);
  EXPECT_EQ(open_tokenizer(folder_)->special().bos, ids("<s>")[0]);
  EXPECT_TRUE(open_tokenizer(folder_)->is_special(ids("<s>")[0]));
  write("added_tokens.json", R"({"<new>": 9000})");
  EXPECT_EQ(ids("<new>"), std::vector<int32_t>{9000});
}

TEST_F(VocabularyFilesTest, WordListIsBertsTokenizer) {
  const json root = io::read_json(tests::golden_tokenizers() / "bert.json");
  std::vector<std::string> pieces(root["model"]["vocab"].size());
  for (const auto& [piece, id] : root["model"]["vocab"].items())
    pieces[id.get<size_t>()] = piece;
  std::string text;
  for (const std::string& piece : pieces)
    text += piece + "\n";
  write("vocab.txt", text);
  const auto whole = open_tokenizer(tests::golden_tokenizers() / "bert.json");
  const auto list = open_tokenizer(folder_);
  for (const char* sample : {"The [MASK] terns' NÉST, 漢字!", "it wasn't..."}) {
    EXPECT_EQ(list->encode(sample), whole->encode(sample));
    EXPECT_EQ(encode_surrounded(*list, sample, "two").type_ids,
              encode_surrounded(*whole, sample, "two").type_ids);
  }
  write("tokenizer_config.json", R"({"do_lower_case": false})");
  EXPECT_NE(ids("The"), whole->encode("The"));
}

TEST_F(VocabularyFilesTest, ALineOfMergesThatIsNoPairIsNamed) {
  write_bpe("gpt2");
  write("merges.txt", "#version: 0.2\nt h\nthe\n");
  EXPECT_NE(refusal().find("merges.txt:3"), std::string::npos) << refusal();
}

}  // namespace
}  // namespace sterna::text
