#pragma once

#include <set>
#include <sys/resource.h>

#include <nlohmann/json.hpp>

#include "tests/run/train_fixture.h"
#include "trainer/dist/gloo.h"
#include "trainer/dist/group.h"

namespace sterna::tests {

/// Training with several ranks, whose processes a test may harm.
class RankTraining : public Training {
 protected:
  void SetUp() override {
    if (!dist::has_gloo())
      GTEST_SKIP() << "built without Gloo's headers (libgloo-dev): there is one rank only";
    Training::SetUp();
  }

  /// Arguments of `sterna train` with that many ranks.
  std::vector<std::string> of_ranks(int64_t ranks,
                                    const std::string& name,
                                    const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = arguments(name, more);
    all.push_back("--nproc");
    all.push_back(std::to_string(ranks));
    return all;
  }

  /// Runs to the end. @return exit code
  int train_ranks(int64_t ranks,
                  const std::string& name,
                  const std::vector<std::string>& more = {}) {
    Program program(of_ranks(ranks, name, more), folder_.path() / "output.txt");
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  /// What the ranks of this test's runs are: process by rank. Waits until all are there.
  std::map<int64_t, pid_t> processes(int64_t ranks) const {
    std::map<int64_t, pid_t> found;
    for (int i = 0; i < 2000 && std::ssize(found) < ranks; ++i) {
      found = living();
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return found;
  }

  /// Processes of this test's runs that are alive now, by rank; -1: the launcher.
  std::map<int64_t, pid_t> living() const {
    std::map<int64_t, pid_t> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      const std::string number = entry.path().filename();
      if (number.find_first_not_of("0123456789") != std::string::npos)
        continue;
      const std::string words = text_of(entry.path() / "cmdline");
      if (words.find(folder_.path().string()) == std::string::npos ||
          words.find("train") == std::string::npos)
        continue;
      const std::string variables = '\0' + text_of(entry.path() / "environ");
      const std::string mark = std::string(1, '\0') + "RANK=";
      const auto at = variables.find(mark);
      found[at == std::string::npos ? -1 : std::stoll(variables.substr(at + mark.size()))] =
          static_cast<pid_t>(std::stol(number));
    }
    return found;
  }

  std::vector<double> losses(const std::string& name) const {
    std::vector<double> all;
    std::istringstream lines(io::read_text(run_folder(name) / "log.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json parsed = nlohmann::json::parse(line);
      if (parsed.at("stage") == "train")
        all.push_back(parsed.at("loss").get<double>());
    }
    return all;
  }

  /// Nothing before the run has a log.
  std::vector<double> losses_or_none(const std::string& name) const {
    try {
      return losses(name);
    } catch (const std::exception&) {  // not there, or a line is being written
      return {};
    }
  }

  std::string rank_log(const std::string& name, int64_t rank) const {
    const auto file = run_folder(name) / "logs" / ("rank-" + std::to_string(rank) + ".log");
    return std::filesystem::exists(file) ? io::read_text(file) : "";
  }

  static std::string text_of(const std::filesystem::path& file) {
    std::ifstream stream(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(stream), {}};
  }

  static int64_t count(const std::string& text, const std::string& part) {
    int64_t found = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
      ++found;
    return found;
  }
};

}  // namespace sterna::tests
