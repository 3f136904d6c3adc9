// Vectors of packed codes as plain loops; see code_simd_avx512.h.
#pragma once

#include <cstdint>
#include <cstring>

namespace sterna::kernels::portable {

struct CodeSimd {
  struct Bytes {
    uint8_t v[64];
  };
  struct Ints {
    int32_t v[16];
  };
  struct Floats {
    float v[16];
  };
  struct Table {
    uint8_t v[16];
  };
  using FloatTable = const float*;
  static constexpr int kParts = 1;
  static constexpr int kTileRows = 2;
  static constexpr int kTilePanels = 1;
  static constexpr int streams(int) { return 1; }

  template <class To, class Op>
  static To make(Op op) {
    To to;
    for (int i = 0; i < static_cast<int>(sizeof to.v / sizeof to.v[0]); ++i)
      to.v[i] = op(i);
    return to;
  }
  template <class To>
  static To copy(const void* p) {
    To to;
    std::memcpy(&to, p, sizeof to);
    return to;
  }
  static uint8_t low(int v) { return static_cast<uint8_t>(v & 255); }

  static Bytes load(const uint8_t* p) { return copy<Bytes>(p); }
  static void store(uint8_t* p, const Bytes& v) { std::memcpy(p, &v, sizeof v); }
  static Bytes fill(uint8_t v) {
    return make<Bytes>([&](int) { return v; });
  }
  static Bytes both(const Bytes& a, const Bytes& b) {
    return make<Bytes>([&](int i) { return low(a.v[i] & b.v[i]); });
  }
  static Bytes add_bytes(const Bytes& a, const Bytes& b) {
    return make<Bytes>([&](int i) { return low(a.v[i] + b.v[i]); });
  }
  template <int N>
  static Bytes right(const Bytes& v) {
    return make<Bytes>([&](int i) { return low(v.v[i] >> N); });
  }
  static Bytes twice(const Bytes& v) {
    return make<Bytes>([&](int i) { return low(v.v[i] << 1); });
  }
  static Table table(const uint8_t* sixteen) { return copy<Table>(sixteen); }
  static Bytes look_up(const Table& table, const Bytes& v) {
    return make<Bytes>([&](int i) { return table.v[v.v[i] & 15]; });
  }
  static Bytes where_even(const Bytes& v, const Bytes& add) {
    return make<Bytes>([&](int i) { return (v.v[i] & 1) == 0 ? add.v[i] : uint8_t{0}; });
  }

  static Bytes quad(const int8_t* x) {
    return make<Bytes>([&](int i) { return static_cast<uint8_t>(x[i & 3]); });
  }
  template <bool Wide>
  static Ints dot(const Ints& sum, const Bytes& codes, const Bytes& x) {
    return make<Ints>([&](int i) {
      int32_t total = sum.v[i];
      for (int j = 4 * i; j < 4 * i + 4; ++j)
        total += codes.v[j] * static_cast<int8_t>(x.v[j]);
      return total;
    });
  }

  static Ints set(int32_t v) {
    return make<Ints>([&](int) { return v; });
  }
  static Ints load_ints(const int32_t* p) { return copy<Ints>(p); }
  static void store_ints(int32_t* p, const Ints& v) { std::memcpy(p, &v, sizeof v); }
  static Ints add(const Ints& a, const Ints& b) {
    return make<Ints>([&](int i) { return a.v[i] + b.v[i]; });
  }
  static Ints sub(const Ints& a, const Ints& b) {
    return make<Ints>([&](int i) { return a.v[i] - b.v[i]; });
  }
  static Ints mul(const Ints& a, const Ints& b) {
    return make<Ints>([&](int i) { return a.v[i] * b.v[i]; });
  }
  static Ints half(const Ints& v) {
    return make<Ints>([&](int i) { return v.v[i] >> 1; });
  }
  static Ints widen(const uint8_t* p) {
    return make<Ints>([&](int i) {
      int16_t v = 0;
      std::memcpy(&v, p + 2 * i, sizeof v);
      return int32_t{v};
    });
  }
  static Bytes spread(const Ints& v) {
    return make<Bytes>([&](int i) { return low(v.v[i / 4]); });
  }

  static Floats zero() { return set_float(0); }
  static Floats set_float(float v) {
    return make<Floats>([&](int) { return v; });
  }
  static Floats load_floats(const float* p) { return copy<Floats>(p); }
  static Floats load_bf16(const uint8_t* p) {
    Floats to;
    for (int i = 0; i < 16; ++i) {
      const auto bits = static_cast<uint32_t>(p[2 * i] << 16) | uint32_t{p[2 * i + 1]} << 24;
      std::memcpy(&to.v[i], &bits, sizeof bits);
    }
    return to;
  }
  static void store_floats(float* p, const Floats& v) { std::memcpy(p, &v, sizeof v); }
  static Floats to_floats(const Ints& v) {
    return make<Floats>([&](int i) { return static_cast<float>(v.v[i]); });
  }
  static Floats add(const Floats& a, const Floats& b) {
    return make<Floats>([&](int i) { return a.v[i] + b.v[i]; });
  }
  static Floats mul(const Floats& a, const Floats& b) {
    return make<Floats>([&](int i) { return a.v[i] * b.v[i]; });
  }
  static Floats fma(const Floats& a, const Floats& b, const Floats& c) {
    return make<Floats>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
  }
  template <int J>
  static Ints byte(const Bytes& v) {
    return make<Ints>([&](int i) { return int32_t{v.v[4 * i + J]}; });
  }
  static FloatTable float_table(const float* sixteen) { return sixteen; }
  static Floats look_up(FloatTable table, const Ints& v) {
    return make<Floats>([&](int i) { return table[v.v[i]]; });
  }
};

}  // namespace sterna::kernels::portable
