#pragma once

#include <cstdint>

namespace sterna::tests::fuzz {

/// What this process has allocated at most since the meter was made, in bytes. Under
/// AddressSanitizer every allocation counts, elsewhere what comes through operator new.
class AllocationMeter {
 public:
  AllocationMeter();
  int64_t peak() const;

 private:
  int64_t before_;
};

}  // namespace sterna::tests::fuzz
