#pragma once

#include <stdexcept>

namespace sterna::recipes {

/// Something the person at the keyboard can mend: the program prints what() and exits with 2.
/// what() says what was expected, what was found, where (file:line:column, byte or tensor name)
/// and what to do. Everything else that is thrown is our own fault (exit code 70).
class UserError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace sterna::recipes
