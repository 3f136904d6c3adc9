// Vectors of packed codes for the AVX-512 variants. Included by sources compiled for it only.
#pragma once

#include <cstdint>
#include <cstring>
#include <immintrin.h>

namespace sterna::kernels::avx512 {

/// 64 bytes, as 16 integers or floats. Every body of packed products is a template over this and
/// its AVX2 and portable twins.
struct CodeSimd {
  using Bytes = __m512i;
  using Ints = __m512i;
  using Floats = __m512;
  using Table = __m512i;  ///< sixteen bytes, four times: an index's upper bits do not matter
  using FloatTable = __m512;
  static constexpr int kParts = 1;      ///< vectors that hold one input quad of a panel
  static constexpr int kTileRows = 12;  ///< tokens x panels whose sums fit the registers
  static constexpr int kTilePanels = 2;
  /// Panels that a product of few rows reads side by side, where it has `sums` sums a panel.
  static constexpr int streams(int sums) { return sums <= 2 ? 8 : sums <= 4 ? 4 : 2; }

  static Bytes load(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store(uint8_t* p, Bytes v) { _mm512_storeu_si512(p, v); }
  static Bytes fill(uint8_t v) { return _mm512_set1_epi8(static_cast<char>(v)); }
  static Bytes both(Bytes a, Bytes b) { return _mm512_and_si512(a, b); }
  static Bytes add_bytes(Bytes a, Bytes b) { return _mm512_add_epi8(a, b); }
  /// Bits of neighbouring bytes come in from above.
  template <int N>
  static Bytes right(Bytes v) {
    return _mm512_srli_epi16(v, N);
  }
  static Bytes twice(Bytes v) { return _mm512_slli_epi16(v, 1); }
  static Table table(const uint8_t* sixteen) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sixteen)));
  }
  /// table[v & 15]
  static Bytes look_up(Table table, Bytes v) { return _mm512_permutexvar_epi8(v, table); }
  /// add where the lowest bit of v is 0, else 0
  static Bytes where_even(Bytes v, Bytes add) {
    return _mm512_maskz_mov_epi8(_mm512_testn_epi8_mask(v, _mm512_set1_epi8(1)), add);
  }

  /// Four activations for every output.
  static Bytes quad(const int8_t* x) {
    int32_t four = 0;
    std::memcpy(&four, x, sizeof four);
    return _mm512_set1_epi32(four);
  }
  /// sum + the products of four unsigned codes with four signed activations; codes below 128 where
  /// not Wide
  template <bool Wide>
  static Ints dot(Ints sum, Bytes codes, Bytes x) {
    return _mm512_dpbusd_epi32(sum, codes, x);
  }

  static Ints set(int32_t v) { return _mm512_set1_epi32(v); }
  static Ints load_ints(const int32_t* p) { return _mm512_loadu_si512(p); }
  static void store_ints(int32_t* p, Ints v) { _mm512_storeu_si512(p, v); }
  static Ints add(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
  static Ints sub(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
  static Ints mul(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
  /// v / 2, rounded down
  static Ints half(Ints v) { return _mm512_srai_epi32(v, 1); }
  /// The int16 at p, one a lane.
  static Ints widen(const uint8_t* p) {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  /// The lowest byte of each lane in all four of it.
  static Bytes spread(Ints v) { return _mm512_mullo_epi32(v, _mm512_set1_epi32(0x01010101)); }

  static Floats zero() { return _mm512_setzero_ps(); }
  static Floats set_float(float v) { return _mm512_set1_ps(v); }
  static Floats load_floats(const float* p) { return _mm512_loadu_ps(p); }
  static Floats load_bf16(const uint8_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static void store_floats(float* p, Floats v) { _mm512_storeu_ps(p, v); }
  static Floats to_floats(Ints v) { return _mm512_cvtepi32_ps(v); }
  static Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
  static Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
  static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
  /// Byte J of each lane.
  template <int J>
  static Ints byte(Bytes v) {
    return _mm512_and_si512(_mm512_srli_epi32(v, 8 * J), _mm512_set1_epi32(255));
  }
  static FloatTable float_table(const float* sixteen) { return _mm512_loadu_ps(sixteen); }
  /// table[v], 0 <= v < 16
  static Floats look_up(FloatTable table, Ints v) { return _mm512_permutexvar_ps(v, table); }
};

}  // namespace sterna::kernels::avx512
