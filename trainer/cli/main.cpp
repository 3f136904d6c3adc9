#include <iostream>

#include "trainer/cli/command.h"

int main(int argc, char** argv) {
  return sterna::cli::run_program({argv, argv + argc}, {std::cout, std::cerr});
}
