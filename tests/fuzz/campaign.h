#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "tests/fuzz/target.h"

namespace sterna::tests::fuzz {

/// What an input may cost: memory as a multiple of its size and a fixed part (tables, patterns that
/// are compiled, a model's blocks), and processor time.
constexpr int64_t kBytesPerByte = 256;
constexpr int64_t kFixedBytes = int64_t{8} << 20;
constexpr double kMostSeconds = 5;

struct Outcome {
  int64_t accepted = 0;
  int64_t refused = 0;
  int64_t most_bytes = 0;    ///< allocated for one input
  double most_per_byte = 0;  ///< of what an input took beyond the fixed part
  double most_seconds = 0;   ///< of processor time
  std::string failure;       ///< empty where nothing happened that must not
};

/// Feeds `count` random mutations of the target's seeds and stops at the first that costs too much
/// or throws what no user should see. The input at fault is written to `fault`; so is one that
/// brings the process down or takes more than a minute.
Outcome run_campaign(const Target& target,
                     int64_t count,
                     uint64_t number,
                     const std::filesystem::path& fault);

}  // namespace sterna::tests::fuzz
