// Chat templates: read, and rendered for a conversation that no template's author had in mind.
#include <nlohmann/json.hpp>

#include "tests/fuzz/target.h"
#include "tests/support/paths.h"
#include "trainer/text/chat.h"

namespace sterna::tests::fuzz {
namespace {

std::vector<std::string> seeds() {
  const auto set = nlohmann::json::parse(bytes_of(source_dir() / "tests/golden/chat/cases.json"));
  std::vector<std::string> all;
  for (const auto& [name, source] : set.at("templates").items())
    all.push_back(source);
  return all;
}

bool feed(const std::string& input) {
  static const std::vector<text::ChatMessage> kMessages = {
      {"system", " Be \"brief\".\n"},
      {"user", "\xe4\xb8\xad\xe6\x96\x87 e\xcc\x81 {{ 1 }} <|im_end|>"},
      {"assistant", "<think>so</think> Yes. </s>"},
      {"user", ""}};
  return reads([&] {
    const text::ChatTemplate made(input, {"<s>", "</s>"});
    for (const bool prompt : {true, false})
      made.render(kMessages, prompt);
  });
}

}  // namespace

Target chat_template_target() {
  return {"chat_template", seeds, feed};
}

}  // namespace sterna::tests::fuzz
