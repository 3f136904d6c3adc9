// Vectors of packed codes for the AVX2 variants; see code_simd_avx512.h.
#pragma once

#include <cstdint>
#include <cstring>
#include <immintrin.h>

namespace sterna::kernels::avx2 {

struct CodeSimd {
  using Bytes = __m256i;
  using Ints = __m256i;
  using Floats = __m256;
  using Table = __m256i;
  using FloatTable = const float*;
  static constexpr int kParts = 2;
  static constexpr int kTileRows = 4;
  static constexpr int kTilePanels = 1;
  static constexpr int streams(int sums) { return sums <= 2 ? 2 : 1; }

  static Bytes load(const uint8_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store(uint8_t* p, Bytes v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
  static Bytes fill(uint8_t v) { return _mm256_set1_epi8(static_cast<char>(v)); }
  static Bytes both(Bytes a, Bytes b) { return _mm256_and_si256(a, b); }
  static Bytes add_bytes(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }
  template <int N>
  static Bytes right(Bytes v) {
    return _mm256_srli_epi16(v, N);
  }
  static Bytes twice(Bytes v) { return _mm256_slli_epi16(v, 1); }
  static Table table(const uint8_t* sixteen) {
    return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen)));
  }
  static Bytes look_up(Table table, Bytes v) {
    return _mm256_shuffle_epi8(table, _mm256_and_si256(v, _mm256_set1_epi8(15)));
  }
  static Bytes where_even(Bytes v, Bytes add) {
    const __m256i odd = _mm256_and_si256(v, _mm256_set1_epi8(1));
    return _mm256_and_si256(_mm256_cmpeq_epi8(odd, _mm256_setzero_si256()), add);
  }

  static Bytes quad(const int8_t* x) {
    int32_t four = 0;
    std::memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
  }
  template <bool Wide>
  static Ints dot(Ints sum, Bytes codes, Bytes x) {
    if constexpr (Wide) {
      // Pairs of products of two whole bytes do not fit the 16 bits that vpmaddubsw adds them in.
      const __m256i even = _mm256_and_si256(codes, _mm256_set1_epi16(255));
      const __m256i odd = _mm256_srli_epi16(codes, 8);
      const __m256i x_even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
      const __m256i x_odd = _mm256_srai_epi16(x, 8);
      return _mm256_add_epi32(
          sum, _mm256_add_epi32(_mm256_madd_epi16(even, x_even), _mm256_madd_epi16(odd, x_odd)));
    } else {
      const __m256i pairs = _mm256_maddubs_epi16(codes, x);
      return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
  }

  static Ints set(int32_t v) { return _mm256_set1_epi32(v); }
  static Ints load_ints(const int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static void store_ints(int32_t* p, Ints v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static Ints add(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
  static Ints sub(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
  static Ints mul(Ints a, Ints b) { return _mm256_mullo_epi32(a, b); }
  static Ints half(Ints v) { return _mm256_srai_epi32(v, 1); }
  static Ints widen(const uint8_t* p) {
    return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Bytes spread(Ints v) { return _mm256_mullo_epi32(v, _mm256_set1_epi32(0x01010101)); }

  static Floats zero() { return _mm256_setzero_ps(); }
  static Floats set_float(float v) { return _mm256_set1_ps(v); }
  static Floats load_floats(const float* p) { return _mm256_loadu_ps(p); }
  static Floats load_bf16(const uint8_t* p) {
    const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
  }
  static void store_floats(float* p, Floats v) { _mm256_storeu_ps(p, v); }
  static Floats to_floats(Ints v) { return _mm256_cvtepi32_ps(v); }
  static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
  template <int J>
  static Ints byte(Bytes v) {
    return _mm256_and_si256(_mm256_srli_epi32(v, 8 * J), _mm256_set1_epi32(255));
  }
  static FloatTable float_table(const float* sixteen) { return sixteen; }
  static Floats look_up(FloatTable table, Ints v) { return _mm256_i32gather_ps(table, v, 4); }
};

}  // namespace sterna::kernels::avx2
