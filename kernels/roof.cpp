#include "kernels/roof.h"

namespace sterna::kernels {

namespace avx2 {
int64_t byte_product_roof(int64_t rounds);
uint64_t read_roof(const uint8_t* p, int64_t bytes, int streams);
}  // namespace avx2
namespace avx512 {
int64_t byte_product_roof(int64_t rounds);
uint64_t read_roof(const uint8_t* p, int64_t bytes, int streams);
}  // namespace avx512

int64_t byte_product_roof(int64_t rounds, CpuLevel level) {
  return level >= CpuLevel::kAvx512 ? avx512::byte_product_roof(rounds)
                                    : avx2::byte_product_roof(rounds);
}

uint64_t read_roof(const uint8_t* p, int64_t bytes, int streams, CpuLevel level) {
  return level >= CpuLevel::kAvx512 ? avx512::read_roof(p, bytes, streams)
                                    : avx2::read_roof(p, bytes, streams);
}

}  // namespace sterna::kernels
