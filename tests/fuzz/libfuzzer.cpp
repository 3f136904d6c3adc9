// The entry of the libFuzzer program: STERNA_FUZZ_TARGET names the parser. With
// STERNA_FUZZ_SEEDS=DIR it first writes the target's seeds there.
#include <cstdlib>
#include <fstream>
#include <iostream>

#include "tests/fuzz/target.h"

namespace {

using sterna::tests::fuzz::Target;

const Target& chosen() {
  static const Target& target = [&]() -> const Target& {
    const char* name = std::getenv("STERNA_FUZZ_TARGET");
    return sterna::tests::fuzz::target(name == nullptr ? "" : name);
  }();
  return target;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  try {
    chosen();
  } catch (const std::exception& error) {
    std::cerr << "STERNA_FUZZ_TARGET: " << error.what() << "\n";
    std::exit(2);
  }
  if (const char* folder = std::getenv("STERNA_FUZZ_SEEDS")) {
    std::filesystem::create_directories(folder);
    int number = 0;
    for (const std::string& seed : chosen().seeds())
      std::ofstream(std::filesystem::path(folder) / ("seed-" + std::to_string(number++)),
                    std::ios::binary)
          << seed;
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen().feed({reinterpret_cast<const char*>(data), size});
  return 0;
}
