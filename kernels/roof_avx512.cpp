// What bounds the AVX-512 variants.
#include "kernels/code_simd_avx512.h"
#include "kernels/roof_body.h"

namespace sterna::kernels::avx512 {

int64_t byte_product_roof(int64_t rounds);
uint64_t read_roof(const uint8_t* p, int64_t bytes, int streams);

int64_t byte_product_roof(int64_t rounds) {
  return byte_product_body<CodeSimd>(rounds);
}

uint64_t read_roof(const uint8_t* p, int64_t bytes, int streams) {
  return read_streams<CodeSimd>(p, bytes, streams);
}

}  // namespace sterna::kernels::avx512
