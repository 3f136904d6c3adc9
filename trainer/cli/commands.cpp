#include "trainer/cli/command.h"

namespace sterna::cli {

// The list of verbs. To add one: declare it here, call it below.
Command bench_command();
Command check_command();
Command eval_command();
Command export_command();
Command generate_command();
Command list_command();
Command plan_command();
Command quantize_command();
Command tokenize_command();
Command train_command();
Command verify_command();

const std::vector<Command>& commands() {
  static const std::vector<Command> all{
      check_command(),
      plan_command(),
      train_command(),
      quantize_command(),
      export_command(),
      verify_command(),
      eval_command(),
      generate_command(),
      tokenize_command(),
      list_command(),
      bench_command(),
  };
  return all;
}

}  // namespace sterna::cli
