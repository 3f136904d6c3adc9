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

#include "tests/support/paths.h"

namespace sterna::tests {

/// The program `sterna` as a child process, its output in a file.
class Program {
 public:
  /// @param before_exec  called in the child, for example to set limits
  Program(const std::vector<std::string>& arguments,
          const std::filesystem::path& output,
          const std::function<void()>& before_exec = {})
      : output_(output) {
    const std::string program = (binary_dir() / "sterna").string();
    std::vector<std::string> words{program};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> raw;
    for (std::string& word : words)
      raw.push_back(word.data());
    raw.push_back(nullptr);
    child_ = fork();
    if (child_ == 0) {
      const int file = open(output_.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0644);
      dup2(file, STDOUT_FILENO);
      dup2(file, STDERR_FILENO);
      if (before_exec)
        before_exec();
      execv(program.c_str(), raw.data());
      _exit(127);
    }
  }
  ~Program() {
    if (child_ > 0) {
      ::kill(child_, SIGKILL);
      wait();
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void signal(int number) { ::kill(child_, number); }

  /// Exit code, or 128 + signal.
  int wait() {
    int status = 0;
    waitpid(child_, &status, 0);
    child_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  /// True once the child has ended; then wait() must not be called.
  bool ended(int& code) {
    int status = 0;
    if (waitpid(child_, &status, WNOHANG) == 0)
      return false;
    child_ = -1;
    code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
  }

  std::string output() const {
    std::ifstream file(output_);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

 private:
  std::filesystem::path output_;
  pid_t child_ = -1;
};

/// A new empty folder of this process, removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "sterna-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace sterna::tests
