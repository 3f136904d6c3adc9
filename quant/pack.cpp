#include "quant/pack.h"

#include <ATen/Parallel.h>

namespace sterna::quant {
namespace {

constexpr int64_t kPackedRows = 16;

/// @return  0 where every code fits, else 1
bool pack_row(const int8_t* codes, int64_t k, int64_t bits, int64_t code_min, uint8_t* out) {
  const uint32_t limit = 1U << bits;
  uint32_t pending = 0;
  int64_t filled = 0;
  bool fits = true;
  for (int64_t i = 0; i < k; ++i) {
    const auto code = static_cast<uint32_t>(codes[i] - code_min);
    fits &= code < limit;
    pending |= (code & (limit - 1)) << filled;
    filled += bits;
    if (filled >= 8) {
      *out++ = static_cast<uint8_t>(pending);
      pending >>= 8;
      filled -= 8;
    }
  }
  if (filled > 0)
    *out = static_cast<uint8_t>(pending);
  return fits;
}

bool unpack_row(const uint8_t* in, int64_t k, int64_t bits, int64_t code_min, int8_t* codes) {
  const uint32_t mask = (1U << bits) - 1;
  uint32_t pending = 0;
  int64_t filled = 0;
  bool fits = true;
  for (int64_t i = 0; i < k; ++i) {
    if (filled < bits) {
      pending |= static_cast<uint32_t>(*in++) << filled;
      filled += 8;
    }
    const int64_t code = static_cast<int64_t>(pending & mask) + code_min;
    fits &= code >= INT8_MIN && code <= INT8_MAX;
    codes[i] = static_cast<int8_t>(code);
    pending >>= bits;
    filled -= bits;
  }
  return fits && pending == 0;
}

void check_bits(int64_t bits) {
  TORCH_CHECK(bits >= 1 && bits <= 8, "pack: expected 1 to 8 bits, got ", bits);
}

}  // namespace

at::Tensor pack_codes(const at::Tensor& codes, int64_t bits, int64_t code_min) {
  check_bits(bits);
  TORCH_CHECK(codes.dim() == 2 && codes.scalar_type() == at::kChar && codes.is_contiguous(),
              "pack: expected contiguous codes int8 [N, K]");
  const int64_t n = codes.size(0), k = codes.size(1), row = packed_row_bytes(k, bits);
  at::Tensor packed = at::empty({n, row}, codes.options().dtype(at::kByte));
  const int8_t* from = codes.const_data_ptr<int8_t>();
  auto* to = packed.mutable_data_ptr<uint8_t>();
  at::parallel_for(0, n, kPackedRows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      TORCH_CHECK(pack_row(from + r * k, k, bits, code_min, to + r * row),
                  "pack: row ",
                  r,
                  " holds a code outside ",
                  bits,
                  " bits from ",
                  code_min);
    }
  });
  return packed;
}

at::Tensor unpack_codes(const at::Tensor& packed, int64_t k, int64_t bits, int64_t code_min) {
  check_bits(bits);
  TORCH_CHECK(packed.dim() == 2 && packed.scalar_type() == at::kByte && packed.is_contiguous() &&
                  packed.size(1) == packed_row_bytes(k, bits),
              "unpack: expected contiguous bytes uint8 [N, ",
              packed_row_bytes(k, bits),
              "], got ",
              packed.sizes());
  const int64_t n = packed.size(0), row = packed.size(1);
  at::Tensor codes = at::empty({n, k}, packed.options().dtype(at::kChar));
  const auto* from = packed.const_data_ptr<uint8_t>();
  auto* to = codes.mutable_data_ptr<int8_t>();
  at::parallel_for(0, n, kPackedRows, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      TORCH_CHECK(unpack_row(from + r * row, k, bits, code_min, to + r * k),
                  "unpack: row ",
                  r,
                  " has spare bits set or a code that does not fit int8");
    }
  });
  return codes;
}

}  // namespace sterna::quant
