#include <iostream>

#include "trainer/cli/command.h"
#include "trainer/cli/heap.h"

int main(int argc, char** argv) {
  sterna::cli::keep_freed_memory();
  return sterna::cli::run_program({argv, argv + argc}, {std::cout, std::cerr});
}
