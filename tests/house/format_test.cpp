// Every source is formatted as .clang-format says.
#include <array>
#include <cstdio>
#include <regex>
#include <set>
#include <string>
#include <sys/wait.h>

#include <gtest/gtest.h>

#include "tests/house/sources.h"

namespace sterna::tests {
namespace {

/// Standard output and error of a shell command, and its exit code.
std::pair<std::string, int> run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr)
    return {"popen failed", -1};
  std::string output;
  std::array<char, 4096> buffer{};
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe))
    output.append(buffer.data(), got);
  const int status = pclose(pipe);
  return {output, WIFEXITED(status) ? WEXITSTATUS(status) : -1};
}

TEST(Format, EverySourceIsAsClangFormatLeavesIt) {
  const auto [version, failed] = run("clang-format --version");
  if (failed != 0)
    GTEST_SKIP() << "clang-format is not installed";
  // Other versions lay some lines out differently; one of them has to be the rule.
  std::smatch major;
  if (!std::regex_search(version, major, std::regex("version (\\d+)")) || major[1] != "14")
    GTEST_SKIP() << "the format is that of clang-format 14; found " << version;
  std::string command = "cd '" + source_dir().string() + "' && clang-format --dry-run --Werror";
  for (const SourceFile& file : code_files())
    command += " '" + file.path + "'";
  const auto [output, status] = run(command);
  std::set<std::string> names;
  const std::regex finding("([^\n:]+):\\d+:\\d+: error");
  for (std::sregex_iterator at(output.begin(), output.end(), finding), end; at != end; ++at)
    names.insert((*at)[1]);
  for (const std::string& name : names)
    ADD_FAILURE() << "run: clang-format -i " << name;
  EXPECT_TRUE(status == 0 || !names.empty()) << output.substr(0, 2000);
}

}  // namespace
}  // namespace sterna::tests
