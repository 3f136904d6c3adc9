#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/program.h"

namespace sterna::dist {

// Variables that say what a rank of a test does: deeds_test.cpp knows the words.
inline constexpr const char* kDeed = "STERNA_TEST_DEED";
inline constexpr const char* kPatience = "STERNA_TEST_TIMEOUT";  ///< dist.timeout, in seconds
inline constexpr const char* kRanks = "STERNA_TEST_RANKS";       ///< of the launcher
inline constexpr const char* kGo = "STERNA_TEST_GO";             ///< a file that is waited for

using Variables = std::map<std::string, std::string>;

/// This program as `role` ("RankOfATest", "LauncherOfATest", "StoreOfATest") with more variables.
inline std::unique_ptr<tests::Process> start(const std::string& role,
                                             const std::filesystem::path& output,
                                             const Variables& variables,
                                             const std::function<void()>& before_exec = {}) {
  return std::make_unique<tests::Process>(
      std::vector<std::string>{"/proc/self/exe",
                               "--gtest_also_run_disabled_tests",
                               "--gtest_filter=" + role + ".*",
                               "--gtest_brief=1"},
      output,
      [=] {
        setenv("TMPDIR", output.parent_path().c_str(), 1);
        for (const auto& [name, value] : variables)
          setenv(name.c_str(), value.c_str(), 1);
        if (before_exec)
          before_exec();
      });
}

}  // namespace sterna::dist
