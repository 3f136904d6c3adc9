#pragma once

#include <fstream>
#include <memory>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "trainer/text/tokenizer.h"

namespace sterna::text {

/// A folder with a tokenizer.json that can be changed.
class RefusalTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(tests::golden_tokenizers() / "llama3.json");
    root_ = nlohmann::json::parse(file);
  }

  std::unique_ptr<Tokenizer> open(const std::string& text) const {
    std::ofstream(folder_ / "tokenizer.json", std::ios::binary) << text;
    return open_tokenizer(folder_);
  }

  /// The message with which a changed file is refused.
  std::string refusal(const nlohmann::json& root) const {
    try {
      open(root.dump());
    } catch (const recipes::UserError& error) {
      return error.what();
    }
    return "";
  }

  void write(const std::string& name, const nlohmann::json& root) const {
    std::ofstream(folder_ / name) << root.dump();
  }

  tests::TempFolder folder_;
  nlohmann::json root_;
};

}  // namespace sterna::text
