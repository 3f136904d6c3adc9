#pragma once

#include <cstdio>
#include <filesystem>
#include <functional>
#include <ostream>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "trainer/run/stopwatch.h"

namespace sterna::run {

/// log.jsonl: one object a line, written with a single call and never half.
class JsonLog {
 public:
  explicit JsonLog(const std::filesystem::path& path);
  ~JsonLog();
  JsonLog(const JsonLog&) = delete;
  JsonLog& operator=(const JsonLog&) = delete;

  void write(const nlohmann::json& line);

  /// Keeps the lines that `keep` wants (and drops a torn last one): what a resumed run has not done
  /// yet it must not have logged.
  static void truncate(const std::filesystem::path& path,
                       const std::function<bool(const nlohmann::json&)>& keep);

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

/// Progress for people: a bar that is drawn over on a terminal, a plain line every so often in a
/// pipe.
class Progress {
 public:
  /// @param columns  of the terminal that `out` is; 0: it is none
  Progress(std::ostream& out, int64_t columns) : out_(out), columns_(columns) {}

  /// Begins a stage whose time is estimated by what has been done of it.
  /// @param every  steps between lines in a pipe
  void start(const std::string& title, int64_t done, int64_t total, int64_t every);

  /// @param text  behind the bar: "loss 2.31 lr 1.0e-04 812 tok/s"
  void step(int64_t done, const std::string& text);

  /// A line of its own.
  void line(const std::string& text);

 private:
  std::string eta(int64_t done) const;
  void wipe();

  std::ostream& out_;
  int64_t columns_;
  int64_t every_ = 1;
  std::string title_;
  int64_t first_ = 0;
  int64_t total_ = 0;
  bool drawn_ = false;
  Stopwatch watch_;
};

/// Resident memory of this process in MiB, now and at its highest.
struct Memory {
  double now = 0;
  double peak = 0;
};
Memory process_memory();

/// "1:02:03" or "4:05".
std::string clock_text(double seconds);

/// A number with `digits` significant ones.
std::string short_number(double value, int digits = 4);

}  // namespace sterna::run
