// The project names no path outside itself but the one default in tests/support/data.h.
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/house/sources.h"

namespace sterna::tests {
namespace {

/// Lines that name somebody's folder, a scratch folder or the neighbour of the checkout. Paths that
/// belong to every Linux system (/usr, /proc, /dev) are no concern of this test.
std::vector<std::string> outside_paths(const SourceFile& file) {
  static const std::regex outside(
      R"re((^|[^A-Za-z0-9_.\-}~/*])/(home|root|work|mnt|data|srv|media|scratch|tmp)(/|\b)|\.\./shared)re");
  std::vector<std::string> found;
  std::istringstream lines(file.text);
  for (std::string line; std::getline(lines, line);) {
    if (std::regex_search(line, outside))
      found.push_back(file.path + ": " + line);
  }
  return found;
}

TEST(Paths, NoFileNamesAPathOutsideTheRepository) {
  const std::set<std::string> kinds = {
      ".h", ".cpp", ".cu", ".cuh", ".toml", ".py", ".cmake", ".txt", ".json", ".md", ""};
  for (const SourceFile& file : source_files(kinds)) {
    if (file.path == "tests/support/data.h" || file.path == "tests/house/paths_test.cpp")
      continue;
    for (const std::string& line : outside_paths(file))
      ADD_FAILURE() << line.substr(0, 300);
  }
}

TEST(Paths, TheCheckItselfSeesSuchPaths) {
  for (const char* planted : {"auto p = \"/home/me/model\";",
                              "path = '/work/data'",
                              "fs::path(\"../shared/data\")",
                              "cd /tmp",
                              "/root/.cache/x"})
    EXPECT_EQ(outside_paths({"x", planted}).size(), 1u) << planted;
  for (const char* harmless : {"#include <sys/wait.h>",
                               "\"tests/data/x\"",
                               "${root}/data/x",
                               "/usr/bin/env bash",
                               "/proc/self/statm",
                               "a * b / data"})
    EXPECT_TRUE(outside_paths({"x", harmless}).empty()) << harmless;
}

}  // namespace
}  // namespace sterna::tests
