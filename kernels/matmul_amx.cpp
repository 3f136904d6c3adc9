// The packed product of many tokens on AMX's tiles: what the AVX-512 variant decodes is a tile as
// it is, sixteen fours of inputs times sixteen outputs.
//
// Tiles are configured by hand: GCC 12's _tile_loadconfig tells the compiler of 8 of the 64 bytes
// that it reads. What was configured before is configured again when a product ends, since a
// library beside this one may think that its configuration still stands.
#include "kernels/code_simd_avx512.h"
#include "kernels/gemm_body.h"
#include "kernels/matmul_variants.h"

namespace sterna::kernels::amx {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileInputs = 64;

struct alignas(64) TileConfig {
  uint8_t palette = 0;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  TileConfig() = default;
  /// Sums of `upper` and `lower` tokens in tiles 0, 1 and 2, 3; their activations in 4 and 5.
  TileConfig(int64_t upper, int64_t lower) : palette(1) {
    for (const int at : {0, 1, 4})
      set(at, upper);
    for (const int at : {2, 3, 5})
      set(at, lower);
    set(6, kTileRows);
    set(7, kTileRows);
  }

  void load() const { asm volatile("ldtilecfg %0" : : "m"(*this)); }
  void store() { asm volatile("sttilecfg %0" : "=m"(*this)); }

 private:
  void set(int at, int64_t count) {
    rows[at] = static_cast<uint8_t>(count);
    row_bytes[at] = count > 0 ? 64 : 0;
  }
};

/// Puts the thread's tiles back as they were configured.
class TileGuard {
 public:
  TileGuard() { before_.store(); }
  ~TileGuard() {
    if (before_.palette != 0)
      before_.load();
    else
      asm volatile("tilerelease");
  }
  TileGuard(const TileGuard&) = delete;
  TileGuard& operator=(const TileGuard&) = delete;

 private:
  TileConfig before_;
};

/// The sums of 16 or 32 tokens with one or two panels; Lower and Both say which are there.
template <bool Lower, bool Both>
void add_tiles(const TileWork& work, int64_t m, int32_t* parts) {
  constexpr int64_t kPartStride = kMostOutputs * 4;
  constexpr int64_t kCodeStride = (Both ? 2 : 1) * kQuadBytes;
  int32_t* lower = parts + kTileRows * kMostOutputs;
  if (work.first) {
    _tile_zero(0);
    if constexpr (Both)
      _tile_zero(1);
    if constexpr (Lower)
      _tile_zero(2);
    if constexpr (Lower && Both)
      _tile_zero(3);
  } else {
    _tile_loadd(0, parts, kPartStride);
    if constexpr (Both)
      _tile_loadd(1, parts + kPanelRows, kPartStride);
    if constexpr (Lower)
      _tile_loadd(2, lower, kPartStride);
    if constexpr (Lower && Both)
      _tile_loadd(3, lower + kPanelRows, kPartStride);
  }
  const int8_t* x = work.x + m * work.stride;
  const uint8_t* bytes = work.bytes;
  // Past the last input activations are zeros, whatever the codes are.
  for (int64_t quad = 0; quad < work.quads; quad += kTileInputs / 4) {
    _tile_loadd(4, x, work.stride);
    _tile_loadd(6, bytes, kCodeStride);
    _tile_dpbsud(0, 4, 6);
    if constexpr (Both) {
      _tile_loadd(7, bytes + kQuadBytes, kCodeStride);
      _tile_dpbsud(1, 4, 7);
    }
    if constexpr (Lower) {
      _tile_loadd(5, x + kTileRows * work.stride, work.stride);
      _tile_dpbsud(2, 5, 6);
    }
    if constexpr (Lower && Both)
      _tile_dpbsud(3, 5, 7);
    x += kTileInputs;
    bytes += kTileInputs / 4 * kCodeStride;
  }
  _tile_stored(0, parts, kPartStride);
  if constexpr (Both)
    _tile_stored(1, parts + kPanelRows, kPartStride);
  if constexpr (Lower)
    _tile_stored(2, lower, kPartStride);
  if constexpr (Lower && Both)
    _tile_stored(3, lower + kPanelRows, kPartStride);
}

/// What RegisterTiles is for vectors. Parts are sums of codes here, zeros are taken off at the end.
struct AmxTiles {
  template <class V, int Panels>
  static void run(const TileWork& work, int64_t tokens, bool, Scratch& scratch) {
    constexpr bool kBoth = Panels == 2;
    int64_t upper = 0, lower = 0;
    for (int64_t m = 0; m < tokens; m += 2 * kTileRows) {
      const int64_t above = std::min(kTileRows, tokens - m);
      const int64_t below = std::clamp<int64_t>(tokens - m - kTileRows, 0, kTileRows);
      if (above != upper || below != lower)
        TileConfig(above, below).load();
      upper = above;
      lower = below;
      if (below > 0)
        add_tiles<true, kBoth>(work, m, scratch.parts[m]);
      else
        add_tiles<false, kBoth>(work, m, scratch.parts[m]);
    }
    if (work.last)
      scale<V, Panels>(work, tokens, scratch);
  }

 private:
  template <class V, int Panels>
  static void scale(const TileWork& work, int64_t tokens, Scratch& scratch) {
    for (int64_t m = 0; m < tokens; ++m) {
      const auto x_sum = V::set(work.x_sums[m * work.sums_stride]);
      const auto x_scale = V::set_float(work.x_scales[m]);
      for (int p = 0; p < Panels; ++p) {
        const int64_t at = p * kPanelRows;
        const auto zeros = V::mul(V::load_ints(work.zeros + at), x_sum);
        const auto whole = V::sub(V::load_ints(scratch.parts[m] + at), zeros);
        const auto by = V::mul(V::load_floats(work.scales + at), x_scale);
        float* to = scratch.sums[m / work.planes] + at;
        V::store_floats(to, V::add(V::load_floats(to), V::mul(V::to_floats(whole), by)));
      }
    }
  }
};

}  // namespace

bool takes(const PackedMatrix& w, const QuantizedRows& x) {
  return x.m * x.planes > 4 && (w.groups() == 1 || w.group % kTileInputs == 0);
}

void matmul_a8(const PackedMatrix& w, const QuantizedRows& x, const OutputRange& range, float* y) {
  const TileGuard guard;
  Gemm<avx512::CodeSimd, AmxTiles>(w, x, range, y).run();
}

}  // namespace sterna::kernels::amx
