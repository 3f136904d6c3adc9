// Chat templates against Jinja2 (scripts/golden/make_chats.py) and the real model's known prompt.
#include <fstream>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "recipes/user_error.h"
#include "tests/support/data.h"
#include "tests/support/tokenizers.h"
#include "trainer/text/chat.h"

namespace sterna::text {
namespace {

using nlohmann::json;

TEST(ChatTemplate, RendersAsJinja2Does) {
  std::ifstream file(tests::source_dir() / "tests/golden/chat/cases.json");
  const json set = json::parse(file);
  ASSERT_GT(set.at("cases").size(), 0u);
  for (const json& one : set.at("cases")) {
    const std::string name = one.at("template");
    std::vector<ChatMessage> messages;
    for (const json& message : one.at("messages")) {
      messages.push_back({message.at("role"), message.at("content")});
    }
    const auto rendered = [&] {
      return render_chat(
          set.at("templates").at(name), messages, {"<s>", "</s>"}, one.at("add_generation_prompt"));
    };
    if (one.contains("error")) {
      EXPECT_THROW(rendered(), recipes::UserError) << one.dump();
    } else {
      EXPECT_EQ(rendered(), one.at("text").get<std::string>()) << one.dump();
    }
  }
}

TEST(ChatTemplate, RealModelGetsItsKnownPrompt) {
  STERNA_REQUIRE_DATA("smollm2_135m/expected.json");
  STERNA_REQUIRE_SMOLLM2();
  std::ifstream file(tests::data_dir() / "smollm2_135m/expected.json");
  const json expected = json::parse(file).at("greedy").at(1);
  const auto tokenizer = open_tokenizer(tests::smollm2());
  const ChatMessage question{"user", "What is the capital of France?"};
  const std::string prompt = render_chat(*tokenizer, std::span(&question, 1), true);
  EXPECT_EQ(prompt, expected.at("prompt").get<std::string>());
  EXPECT_EQ(tokenizer->encode(prompt), expected.at("prompt_ids").get<std::vector<int32_t>>());
}

}  // namespace
}  // namespace sterna::text
