#pragma once

#include <atomic>
#include <functional>

#include "trainer/dist/board.h"
#include "trainer/dist/talk.h"

namespace sterna::dist {

/// Who this rank is to the others.
struct Self {
  int64_t rank = 0;
  bool hosts_store = false;  ///< the others need this process to read the board
  std::string host;          ///< this machine's name
};

/// How a rank ends the job, and itself: any thread may, from whatever the others are waiting in.
class Ending {
 public:
  /// @param board, talk  outlive the object
  /// @param own  what this rank has to show of itself, asked by any thread
  Ending(Board& board, const Self& self, Talk& talk, std::function<Sign()> own)
      : board_(board), self_(self), talk_(talk), own_(std::move(own)) {}

  /// This rank has found why. The first one's message is printed.
  [[noreturn]] void fail(const Failure& failure);

  /// This rank has found another one lost. @param text  which, and how
  [[noreturn]] void lose(const std::string& text);

  /// Another rank has told why.
  [[noreturn]] void follow(const Failure& failure);

  /// Nobody can be told any more.
  [[noreturn]] void without_store(const std::string& complaint);

 private:
  void claim(int code);
  [[noreturn]] void finish(const Failure& failure, bool first);

  Board& board_;
  Self self_;
  Talk& talk_;
  std::function<Sign()> own_;
  std::atomic<bool> ending_{false};
  std::atomic<int> code_{0};
};

}  // namespace sterna::dist
