#pragma once

#include <set>
#include <sys/prctl.h>
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
    prctl(PR_SET_CHILD_SUBREAPER, 1);  // what a launcher leaves behind comes to this process
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

  /// State of a process, as 'R', 'S' or 'T'; 0 where there is none. @param parent  its parent
  static char state_of(const std::string& process, pid_t& parent) {
    const std::string line = text_of("/proc/" + process + "/stat");
    const size_t name_end = line.rfind(')');
    if (name_end == std::string::npos)
      return 0;
    std::istringstream rest(line.substr(name_end + 1));
    char state = 0;
    rest >> state >> parent;
    return state;
  }

  static bool is_held(pid_t process) {
    pid_t parent = 0;
    return state_of(std::to_string(process), parent) == 'T';
  }

  /// Whether a process has a handler of a signal.
  static bool catches(pid_t process, int signal) {
    const std::string status = text_of("/proc/" + std::to_string(process) + "/status");
    const auto at = status.find("SigCgt:");
    return at != std::string::npos &&
           (std::stoull(status.substr(at + 7), nullptr, 16) >> (signal - 1) & 1) != 0;
  }

  /// The newest checkpoint that is whole.
  std::filesystem::path newest(const std::string& name) const {
    std::vector<std::string> torn;
    return model::newest_checkpoint(run_folder(name), torn);
  }

  /// Processes that outlived whoever started them, of any group.
  static std::vector<std::string> left_behind() {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
      pid_t parent = 0;
      const std::string number = entry.path().filename();
      if (number.find_first_not_of("0123456789") != std::string::npos)
        continue;
      const char state = state_of(number, parent);
      if (parent == getpid() && state != 'Z' && state != 0)
        found.push_back(number);
    }
    return found;
  }

  /// Waits for what is to come. @return false where it has not within two minutes
  static bool comes(const std::function<bool()>& what) {
    for (int i = 0; i < 12000 && !what(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return what();
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
    try {
      std::ifstream stream(file, std::ios::binary);
      return {std::istreambuf_iterator<char>(stream), {}};
    } catch (const std::ios_base::failure&) {
      return {};  // of a process that has just ended
    }
  }

  static int64_t count(const std::string& text, const std::string& part) {
    int64_t found = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1))
      ++found;
    return found;
  }
};

}  // namespace sterna::tests
