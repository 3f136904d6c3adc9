#include "trainer/cli/command.h"

namespace sterna::cli {

// The list of verbs. To add one: declare it here, call it below.
Command check_command();
Command export_command();
Command list_command();
Command quantize_command();
Command tokenize_command();
Command train_command();

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      check_command(),
      quantize_command(),
      export_command(),
      list_command(),
      tokenize_command(),
      train_command(),
  };
  return all;
}

}  // namespace sterna::cli
