#pragma once

#include <optional>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/Store.hpp>

namespace sterna::dist {

using Store = c10::intrusive_ptr<c10d::Store>;

/// Exit code of every rank of a job that lost one: contracts.md, "Command line".
inline constexpr int kRankLost = 70;

/// What a rank tells of itself every second or so.
struct Sign {
  int64_t beat = 0;   ///< grows while it is alive
  int64_t step = -1;  ///< of training; -1 before
  int64_t begun = 0;  ///< collectives called
  int64_t ended = 0;  ///< of these, waited for
  bool left = false;  ///< it has done its work
  int64_t process = 0;
  std::string host;
  std::string collective;  ///< the last one begun: "all_reduce of 265 KiB"
};

/// "step 7" or "before the first step".
std::string step_text(const Sign& sign);

/// "collective 34 (all_reduce of 265 KiB)".
std::string collective_text(const Sign& sign);

/// "rank 2 on node3 (process 4711)".
std::string name_of(int64_t rank, const std::optional<Sign>& sign);

/// What a message quotes of what c10d says.
std::string first_line(const std::string& text);

/// Why a job ends.
struct Failure {
  int code = kRankLost;
  std::string text;  ///< the whole message
  int64_t by = -1;   ///< the rank that told of it
};

/// What the ranks of a job, and its launcher, tell each other through the store. Every call may
/// throw where the store is gone.
class Board {
 public:
  Board(Store store, int64_t size) : store_(std::move(store)), size_(size) {}

  int64_t size() const { return size_; }

  void put(int64_t rank, const Sign& sign);
  std::optional<Sign> sign(int64_t rank);
  std::vector<std::optional<Sign>> signs();

  /// Shows a rank for the first time. @return  false: a process of that rank was here before
  bool appear(int64_t rank, const Sign& sign);

  /// Says that all ranks have appeared.
  void open() { write("open", "1"); }
  bool is_open() { return store_->check({"open"}); }

  /// In one step: whoever dies behind it has told. @return  what counts: the first that was told
  Failure report(const Failure& failure);
  std::optional<Failure> failure();

  /// How the process of a rank ended: its launcher sees it first.
  void put_end(int64_t rank, const std::string& how);
  std::optional<std::string> end_of(int64_t rank);

  void warn(const std::string& line);
  /// Those that this object has not given yet.
  std::vector<std::string> new_warnings();

  void ask_to_stop() { write("stop", "1"); }
  bool asked_to_stop() { return store_->check({"stop"}); }

  /// Counts who will not read the board again.
  void leave() { store_->add("left", 1); }
  int64_t left() { return store_->add("left", 0); }

 private:
  void write(const std::string& key, const std::string& text);
  std::optional<std::string> read(const std::string& key);

  Store store_;
  int64_t size_;
  int64_t warnings_read_ = 0;
};

}  // namespace sterna::dist
