#pragma once

#include <chrono>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <signal.h>
#include <sstream>
#include <string>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"

namespace sterna::tests {

/// A child process, its output in a file.
class Process {
 public:
  /// @param words  the program (looked for in PATH where it holds no slash) and its arguments
  /// @param before_exec  called in the child, for example to set limits
  Process(std::vector<std::string> words,
          const std::filesystem::path& output,
          const std::function<void()>& before_exec = {})
      : output_(output) {
    std::vector<char*> raw;
    for (std::string& word : words)
      raw.push_back(word.data());
    raw.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      const int file = open(output_.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
      dup2(file, STDOUT_FILENO);
      dup2(file, STDERR_FILENO);
      // What a test that runs in the background was told to ignore.
      ::signal(SIGINT, SIG_DFL);
      ::signal(SIGHUP, SIG_DFL);
      if (before_exec)
        before_exec();
      execvp(raw.front(), raw.data());
      _exit(127);
    }
  }
  ~Process() { end(); }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number) {
    if (child_ > 0)
      ::kill(child_, number);
  }

  /// Exit code, or 128 + signal. One that says nothing for too long fails the test and is killed.
  int wait() {
    for (Silence silence(*this); lives(); silence.look())
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  }

  bool lives() {
    if (child_ > 0 && waitpid(child_, &status_, WNOHANG) != 0)
      child_ = -1;
    return child_ > 0;
  }

  /// Waits until the output holds `text`. @return false where the child ends without it
  bool says(const std::string& text) {
    bool alive = true;
    Silence silence(*this);
    while (output().find(text) == std::string::npos) {
      if (!alive)
        return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      silence.look();
      alive = lives();
    }
    return true;
  }

  std::string output() const {
    std::ifstream file(output_);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  /// How long the process has said nothing: one that is slow does now and then.
  class Silence {
   public:
    explicit Silence(Process& process) : process_(process) {}

    void look() {
      const auto now = std::chrono::steady_clock::now();
      std::error_code none;
      const auto bytes = std::filesystem::file_size(process_.output_, none);
      if (bytes != bytes_)
        since_ = now;
      bytes_ = bytes;
      if (now - since_ < kLongest)
        return;
      ADD_FAILURE() << "said nothing for " << kLongest.count() << " s, and was killed:\n"
                    << process_.output();
      process_.end();
    }

   private:
    static constexpr std::chrono::seconds kLongest{300};
    Process& process_;
    uintmax_t bytes_ = 0;
    std::chrono::steady_clock::time_point since_ = std::chrono::steady_clock::now();
  };

  void end() {
    if (child_ < 0)
      return;
    ::kill(child_, SIGKILL);
    waitpid(child_, &status_, 0);
    child_ = -1;
  }

  std::filesystem::path output_;
  pid_t child_ = -1;
  int status_ = 0;
};

/// The program `sterna`.
class Program : public Process {
 public:
  Program(std::vector<std::string> arguments,
          const std::filesystem::path& output,
          const std::function<void()>& before_exec = {})
      : Process(behind_sterna(std::move(arguments)), output, before_exec) {}

 private:
  static std::vector<std::string> behind_sterna(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), (binary_dir() / "sterna").string());
    return arguments;
  }
};

}  // namespace sterna::tests
