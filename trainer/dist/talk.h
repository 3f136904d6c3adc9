#pragma once

#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <ostream>
#include <string>
#include <vector>

namespace sterna::dist {

/// Where a rank's words go. What rank 0 says reaches the console; what another says goes to its log
/// file, and its lines that begin with "WARNING" are handed on. Any thread may call.
class Talk {
 public:
  /// @param console, errors  outlive the object
  Talk(int64_t rank, std::ostream& console, std::ostream& errors);
  ~Talk();
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;

  /// For what the run says.
  std::ostream& out() { return out_; }

  /// Opens the log; what was said before is written to it.
  void keep_in(const std::filesystem::path& file);

  /// A line with the time, for the log alone.
  void note(const std::string& line);

  /// A whole line on the console, between those of out().
  void show(const std::string& line);

  /// A last word: on the error stream and in the log.
  void complain(const std::string& text);

  /// Whether no other rank has asked for the same name within the last minute, by a file beside the
  /// logs; before there are any, in the folder for temporary files. True where none can be made.
  bool is_first(const std::string& name);

  /// Who is handed warnings.
  void on_warning(std::function<void(const std::string&)> listener);

 private:
  class Lines;

  void note_locked(const std::string& line);

  int64_t rank_;
  std::ostream& console_;
  std::ostream& errors_;
  std::unique_ptr<Lines> lines_;
  std::ostream out_;
  std::mutex mutex_;
  std::ofstream log_;
  std::filesystem::path folder_;    ///< of the logs; empty before
  std::vector<std::string> early_;  ///< lines before there was a log
  std::function<void(const std::string&)> listener_;
};

}  // namespace sterna::dist
