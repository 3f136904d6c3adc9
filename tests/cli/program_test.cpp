#include <filesystem>
#include <iomanip>
#include <sstream>

#include <gtest/gtest.h>

#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"
#include "trainer/cli/invocation.h"

namespace sterna::cli {
namespace {

struct Result {
  int code;
  std::string out;
  std::string err;
};

Result run(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "build/release/sterna");
  std::ostringstream out, err;
  const int code = run_program(arguments, {out, err});
  return {code, out.str(), err.str()};
}

/// What the examples write goes here, not into build/; they read the repository's files.
class ScratchFolder {
 public:
  ScratchFolder() : old_(std::filesystem::current_path()) {
    std::filesystem::current_path(tests::source_dir());
  }
  ~ScratchFolder() { std::filesystem::current_path(old_); }
  std::string into(const std::string& word) const {
    return word.starts_with("build/") ? (folder_ / word.substr(6)).string() : word;
  }

 private:
  const std::filesystem::path old_;
  const tests::TempFolder folder_;
};

/// A verb of the tests' own, with a flag of every kind.
Command probe() {
  Command command;
  command.name = "probe";
  command.paths = {0, 2};
  command.recipes = {0, 1};
  command.flags = {{"json", "FILE", ""}, {"prompt", "TEXT", ""}, {"chat", "", ""}, {"n", "N", ""}};
  return command;
}

Invocation parse(const std::vector<std::string>& arguments) {
  return parse_invocation(probe(), arguments);
}

std::string parse_error(const std::vector<std::string>& arguments) {
  try {
    parse(arguments);
    return "";
  } catch (const recipes::UserError& error) {
    return error.what();
  }
}

TEST(Program, HelpAndVersionGoToOutAndMistakesToErr) {
  EXPECT_EQ(run({"--version"}).out, "sterna 0.1.0\n");
  const Result help = run({"--help"});
  EXPECT_EQ(help.code, kDone);
  EXPECT_NE(help.out.find("usage: build/release/sterna VERB"), std::string::npos);
  const Result none = run({});
  EXPECT_EQ(none.code, kUserError);
  EXPECT_EQ(none.out, "");
  EXPECT_NE(none.err.find("usage:"), std::string::npos);
}

TEST(Program, AnUnknownVerbNamesTheNearest) {
  const Result result = run({"lits"});
  EXPECT_EQ(result.code, kUserError);
  EXPECT_EQ(result.err, "error: sterna: no verb 'lits'; did you mean 'list'?\n");
}

TEST(Program, EveryVerbHasHelpThatShowsItsExampleAndFlags) {
  for (const Command& command : commands()) {
    const Result result = run({command.name, "--help"});
    EXPECT_EQ(result.code, kDone);
    EXPECT_EQ(result.err, "");
    EXPECT_NE(result.out.find("build/release/sterna " + command.example + "\n"), std::string::npos)
        << command.name;
    EXPECT_NE(result.out.find(command.summary), std::string::npos) << command.name;
    for (const Flag& flag : command.flags)
      EXPECT_NE(result.out.find("--" + flag.name), std::string::npos) << command.name;
  }
}

TEST(Program, ExamplesThatNeedNoDownloadWorkAsPrinted) {
  const ScratchFolder here;
  int ran = 0;
  for (const Command& command : commands()) {
    if (command.example.find("sterna") != std::string::npos ||
        command.example.find("smollm2") != std::string::npos ||
        command.example.find("quickstart") != std::string::npos)
      continue;  // what scripts/setup fetches
    std::istringstream words(command.example);
    std::vector<std::string> arguments;
    for (std::string word; words >> std::quoted(word, '\'');)
      arguments.push_back(here.into(word));
    const Result result = run(arguments);
    EXPECT_EQ(result.code, kDone) << command.example << "\n" << result.err;
    ++ran;
  }
  EXPECT_GE(ran, 5);
}

TEST(Invocation, SortsRecipesOverridesAndPaths) {
  const Invocation typed = parse({"a.toml", "model.gguf", "train.lr=1e-3", "x=y.toml", "folder"});
  EXPECT_EQ(typed.recipes, (std::vector<std::filesystem::path>{"a.toml"}));
  EXPECT_EQ(typed.paths, (std::vector<std::filesystem::path>{"model.gguf", "folder"}));
  EXPECT_EQ(typed.overrides, (std::vector<std::string>{"train.lr=1e-3", "x=y.toml"}));
}

TEST(Invocation, TakesFlagsAnywhereAndTheirValuesAsTheyStand) {
  const Invocation typed =
      parse({"--json", "a=b.json", "folder", "--chat", "--prompt", "two words = one"});
  EXPECT_EQ(typed.text("json"), "a=b.json");
  EXPECT_EQ(typed.text("prompt"), "two words = one");
  EXPECT_TRUE(typed.has("chat"));
  EXPECT_FALSE(typed.has("verbose"));
  EXPECT_EQ(typed.paths.size(), 1u);
  EXPECT_TRUE(typed.overrides.empty());
  EXPECT_EQ(parse({"--prompt="}).text("prompt", "x"), "");
  EXPECT_EQ(parse({"--prompt", ""}).text("prompt", "x"), "");
  EXPECT_EQ(parse({"--prompt=-1 is negative"}).text("prompt"), "-1 is negative");
  EXPECT_EQ(parse({"--prompt", "-1 is negative"}).text("prompt"), "-1 is negative");
}

TEST(Invocation, MistakesInFlagsAreNamed) {
  EXPECT_EQ(parse_error({"--jsno", "x"}),
            "sterna probe: no flag '--jsno'; did you mean '--json'?; see sterna probe --help");
  EXPECT_NE(parse_error({"--json"}), "");
  EXPECT_NE(parse_error({"--js", "x"}), "");
  EXPECT_NE(parse_error({"--chat=yes"}), "");
  EXPECT_EQ(parse_error({"--chat", "--chat"}),
            "sterna probe: --chat given twice; see sterna probe --help");
  EXPECT_EQ(parse_error({"-c"}),
            "sterna probe: no flag '-c'; flags begin with two dashes; see sterna probe --help");
}

TEST(Invocation, TooManyArgumentsAreCounted) {
  EXPECT_EQ(parse_error({"a.toml", "b.toml"}),
            "sterna probe: expected 0 to 1 recipes (*.toml), found 2; see sterna probe --help");
  EXPECT_EQ(parse_error({"a", "b", "c"}),
            "sterna probe: expected 0 to 2 paths, found 3; see sterna probe --help");
}

TEST(Invocation, NumbersAreChecked) {
  EXPECT_EQ(parse({"--n", "5"}).integer("n", 1, {0, 9}), 5);
  EXPECT_EQ(parse({}).integer("n", 1, {0, 9}), 1);
  EXPECT_EQ(parse({"--n", "0.5"}).number("n", 1, {0, 9}), 0.5);
  for (const char* text : {"five", "5x", "", "10", "nan"}) {
    EXPECT_THROW(parse({std::string("--n=") + text}).integer("n", 1, {0, 9}), recipes::UserError);
    EXPECT_THROW(parse({std::string("--n=") + text}).number("n", 1, {0, 9}), recipes::UserError);
  }
}

}  // namespace
}  // namespace sterna::cli
