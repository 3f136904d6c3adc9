#pragma once

#include <functional>
#include <mutex>

#include "trainer/dist/board.h"
#include "trainer/dist/talk.h"

namespace sterna::dist {

/// Who this rank is to the others.
struct Self {
  int64_t rank = 0;
  bool hosts_store = false;      ///< the others need this process to read the board
  bool launcher_speaks = false;  ///< what is told on the board is printed by the launcher
  std::string host;              ///< this machine's name
  std::string attempt;           ///< name of the job and of this beginning; part of a file's name
};

/// How a rank ends the job, and itself: any thread may, from whatever the others are waiting in.
/// One message of the job reaches a console.
class Ending {
 public:
  /// @param board, talk  outlive the object
  /// @param own  what this rank has to show of itself, asked by any thread
  Ending(Board& board, const Self& self, Talk& talk, std::function<Sign()> own)
      : board_(board), self_(self), talk_(talk), own_(std::move(own)) {}

  /// This rank has found why. The first one's message is printed.
  [[noreturn]] void fail(Failure failure);

  /// This rank has found another one lost. @param text  which, and how
  [[noreturn]] void lose(const std::string& text);

  /// Another rank has told why.
  [[noreturn]] void follow(const Failure& failure);

  /// Nobody can be told any more.
  [[noreturn]] void without_store(const std::string& complaint);

  /// This rank has done its work: a store that goes from now on is no failure.
  void work_is_done(int code);

 private:
  void claim(const Failure& failure);
  void say(const std::string& text, bool aloud);
  void say_alone(const Failure& failure);
  [[noreturn]] void finish(const Failure& failure, bool aloud);

  Board& board_;
  Self self_;
  Talk& talk_;
  std::function<Sign()> own_;
  std::mutex mutex_;  ///< over what follows
  std::optional<Failure> ending_;
  bool said_ = false;
  std::optional<int> done_;
};

}  // namespace sterna::dist
