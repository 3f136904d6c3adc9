#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "recipes/paths.h"
#include "tests/support/paths.h"
#include "tests/support/program.h"
#include "tests/support/temp_folder.h"
#include "trainer/io/atomic_file.h"

namespace sterna::tests {

/// Fixture of tests that hand files to other projects' programs: the Python environment of
/// scripts/peers/setup. Skips where it is absent or not what requirements.txt says now.
class Peers : public testing::Test {
 protected:
  void SetUp() override {
    const std::filesystem::path wanted = source_dir() / "scripts/peers/requirements.txt";
    const std::filesystem::path installed = environment() / "requirements.txt";
    if (!std::filesystem::exists(installed) || io::read_text(installed) != io::read_text(wanted))
      GTEST_SKIP() << "no up-to-date Python of the peers: scripts/test --label interop installs it";
  }

  /// Runs a script of the repository to its end; a failure of the script is one of the test.
  void python(const std::string& script, const std::vector<std::string>& arguments) {
    std::vector<std::string> words{(environment() / "bin/python").string(),
                                   (source_dir() / script).string()};
    words.insert(words.end(), arguments.begin(), arguments.end());
    Process process(words, folder_ / "python.txt");
    const int code = process.wait();
    output_ = process.output();
    ASSERT_EQ(code, 0) << script << ":\n" << output_;
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  TempFolder folder_;
  std::string output_;  ///< of the last script

 private:
  static std::filesystem::path environment() { return recipes::cache_dir() / "peers"; }
};

}  // namespace sterna::tests
