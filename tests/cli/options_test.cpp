#include <map>

#include <gtest/gtest.h>

#include "trainer/cli/invocation.h"

namespace sterna::cli {
namespace {

/// Every verb with its flags. Settings belong in the recipe: think twice before adding a flag, and
/// never rename one, because scripts depend on them.
const std::map<std::string, std::string> kFrozen{
    {"bench", "--conformance --json FILE"},
    {"check", "--samples N --world N"},
    {"eval", "--json FILE --weights FORM"},
    {"export", "--format NAME --out DIR --dtype TYPE"},
    {"generate",
     "--prompt TEXT --chat --prompts FILE --as KEY --sequences N --out FILE --max-new N "
     "--temperature T "
     "--top-p P --seed S --dtype D --weights FORM"},
    {"list", ""},
    {"plan", "--world N --gpu NAME --simulate A..B --json FILE"},
    {"quantize", "--out DIR"},
    {"tokenize", "--text T --file F --cases FILE.json"},
    {"train", "--resume --nproc N --max-restarts K"},
    {"verify", "--expected FILE --against RUN --tolerance E"},
    {"", "--help --verbose"},  // every verb
};

std::string text_of(const std::vector<Flag>& flags) {
  std::string text;
  for (const Flag& flag : flags)
    text +=
        (text.empty() ? "--" : " --") + flag.name + (flag.value.empty() ? "" : " ") + flag.value;
  return text;
}

TEST(Options, VerbsAndFlagsAreFrozen) {
  EXPECT_EQ(text_of(common_flags()), kFrozen.at(""));
  for (const Command& command : commands()) {
    const auto frozen = kFrozen.find(command.name);
    ASSERT_NE(frozen, kFrozen.end())
        << "a new verb: freeze {\"" << command.name << "\", \"" << text_of(command.flags) << "\"}";
    EXPECT_EQ(text_of(command.flags), frozen->second) << command.name;
  }
}

TEST(Options, EveryVerbIsDescribedAndItsExampleParses) {
  for (const Command& command : commands()) {
    SCOPED_TRACE(command.name);
    EXPECT_FALSE(command.summary.empty());
    ASSERT_NE(command.run, nullptr);
    for (const Flag& flag : command.flags)
      EXPECT_FALSE(flag.help.empty()) << flag.name;
    // Words of the example, quotes removed.
    std::vector<std::string> words(1);
    bool inside = false;
    for (const char c : command.example) {
      if (c == '"' || c == '\'')
        inside = !inside;
      else if (c == ' ' && !inside)
        words.emplace_back();
      else
        words.back() += c;
    }
    ASSERT_EQ(words.front(), command.name) << command.example;
    EXPECT_NO_THROW(parse_invocation(command, {words.begin() + 1, words.end()}));
  }
}

}  // namespace
}  // namespace sterna::cli
