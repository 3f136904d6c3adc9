#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "trainer/io/json.h"
#include "trainer/text/tokenizer.h"

namespace sterna::text {
namespace {

namespace fs = std::filesystem;

/// A folder that may hold two tokenizers, as checkpoints of the Llama family do.
class FolderOfTokenizers : public testing::Test {
 protected:
  void put(const std::string& golden, const std::string& name) const {
    fs::copy_file(tests::golden_tokenizers() / golden, folder_ / name);
  }
  std::string chosen() const { return open_tokenizer(folder_)->fingerprint(); }

  const tests::TempFolder folder_;
};

std::string fingerprint_of(const std::string& golden) {
  return open_tokenizer(tests::golden_tokenizers() / golden)->fingerprint();
}

TEST_F(FolderOfTokenizers, GivesTheOnlyOne) {
  put("gpt2.json", "tokenizer.json");
  EXPECT_EQ(chosen(), fingerprint_of("gpt2.json"));
}

TEST_F(FolderOfTokenizers, TakesTheOriginalWhereTheConversionAddsNoToken) {
  put("bpe.model", "tokenizer.model");
  nlohmann::json json = io::read_json(tests::golden_tokenizers() / "fallback.json");
  json["added_tokens"] = nlohmann::json::array();
  std::ofstream(folder_ / "tokenizer.json") << json;
  EXPECT_EQ(chosen(), fingerprint_of("bpe.model"));
}

TEST_F(FolderOfTokenizers, TakesTheConversionWhereItKnowsMore) {
  put("bpe.model", "tokenizer.model");
  nlohmann::json json = io::read_json(tests::golden_tokenizers() / "fallback.json");
  json["added_tokens"] = {{{"id", json["model"]["vocab"].size()},
                           {"content", "<added>"},
                           {"single_word", false},
                           {"lstrip", false},
                           {"rstrip", false},
                           {"normalized", false},
                           {"special", true}}};
  std::ofstream(folder_ / "tokenizer.json") << json;
  EXPECT_NE(chosen(), fingerprint_of("bpe.model"));
}

TEST_F(FolderOfTokenizers, WithoutAnySaysWhatWasLookedFor) {
  try {
    open_tokenizer(folder_);
    FAIL();
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("tokenizer.model"), std::string::npos);
  }
}

}  // namespace
}  // namespace sterna::text
