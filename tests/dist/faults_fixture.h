#pragma once

#include <csignal>

#include <gtest/gtest.h>

#include "tests/dist/deeds.h"
#include "tests/support/port.h"
#include "trainer/dist/group.h"

namespace sterna::dist {

using Clock = std::chrono::steady_clock;

// Seconds: where a test has to wait until somebody is missed.
inline constexpr const char* kShort = "5";

struct End {
  std::vector<int> codes;  ///< by rank
  std::string said;        ///< by all
  double seconds = 0;
};

using Processes = std::vector<std::unique_ptr<tests::Process>>;

/// @param held  the one that does not end by itself
inline End end_of(const Processes& processes,
                  Clock::time_point start,
                  tests::Process* held = nullptr) {
  End end;
  for (const auto& process : processes) {
    if (process.get() == held)
      continue;
    process->wait();
  }
  if (held != nullptr)
    held->signal(SIGKILL);
  for (const auto& process : processes) {
    end.codes.push_back(process->wait());
    end.said += process->output();
  }
  end.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  return end;
}

/// Variables of ranks without a launcher.
inline Variables of_rank(int rank, int ranks, int port) {
  return {{"RANK", std::to_string(rank)},
          {"WORLD_SIZE", std::to_string(ranks)},
          {"MASTER_ADDR", "127.0.0.1"},
          {"MASTER_PORT", std::to_string(port)}};
}

inline int messages(const std::string& said) {
  int found = 0;
  for (const char* mark : {"sterna: ", "error: "})
    for (size_t at = said.find(mark); at != std::string::npos; at = said.find(mark, at + 1))
      ++found;
  return found;
}

/// Ranks without a launcher, rank 0 serving the store; their words in files that begin with
/// `files`.
inline Processes start_ranks(int ranks,
                             const std::string& deed,
                             const std::filesystem::path& files,
                             const Variables& more = {}) {
  const int port = tests::unused_port();
  Processes processes;
  for (int rank = 0; rank < ranks; ++rank) {
    Variables all = of_rank(rank, ranks, port);
    all[kDeed] = deed;
    all.insert(more.begin(), more.end());
    processes.push_back(start("RankOfATest", files.string() + "-" + std::to_string(rank), all));
  }
  return processes;
}

class RanksFail : public testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    if (!has_gloo())
      GTEST_SKIP() << "built without Gloo's headers (libgloo-dev)";
  }

  End end_of_ranks(int ranks, const std::string& deed, const Variables& more = {}) {
    const auto begin = Clock::now();
    return end_of(start_ranks(ranks, deed, file(), more), begin);
  }

  End end_of_launched(const std::string& deed, const Variables& more = {}) {
    Processes processes;
    const auto begin = Clock::now();
    Variables all{{kDeed, deed}, {kRanks, "3"}};
    all.insert(more.begin(), more.end());
    processes.push_back(start("LauncherOfATest", file(), all));
    return end_of(processes, begin);
  }

  std::filesystem::path file() { return folder_ / std::to_string(files_++); }

  /// @param ended  a rank that ended otherwise, and how
  static void expect(End end,
                     int code,
                     const std::vector<std::string>& parts,
                     int ended = -1,
                     int how = 128 + SIGABRT) {
    if (ended >= 0) {
      EXPECT_EQ(end.codes.at(static_cast<size_t>(ended)), how) << end.said;
      end.codes.erase(end.codes.begin() + ended);
    }
    EXPECT_EQ(end.codes, std::vector<int>(end.codes.size(), code)) << end.said;
    EXPECT_LT(end.seconds, 60);
    EXPECT_EQ(messages(end.said), 1) << end.said;
    for (const std::string& part : parts)
      EXPECT_NE(end.said.find(part), std::string::npos) << part << " in\n" << end.said;
  }

  tests::TempFolder folder_;
  int files_ = 0;
};

class RanksOfThree : public RanksFail {};

}  // namespace sterna::dist
