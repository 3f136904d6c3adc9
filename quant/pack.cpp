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

/// Codes of which a byte holds a whole number, in a loop that is vectorised: a model that is read
/// anew for every batch of an evaluation is unpacked as often.
template <int kBits>
__attribute__((optimize("O3"))) void unpack_bytes(const uint8_t* in,
                                                  int64_t bytes,
                                                  int64_t code_min,
                                                  int8_t* codes) {
  constexpr int kPerByte = 8 / kBits;
  constexpr unsigned kMask = (1U << kBits) - 1;
  const auto least = static_cast<uint8_t>(code_min);
  for (int64_t i = 0; i < bytes; ++i)
    for (int s = 0; s < kPerByte; ++s)
      codes[i * kPerByte + s] =
          static_cast<int8_t>(static_cast<uint8_t>((in[i] >> (s * kBits)) & kMask) + least);
}

/// How many bytes that took, from the row's beginning.
int64_t unpack_whole_bytes(
    const uint8_t* in, int64_t k, int64_t bits, int64_t code_min, int8_t* codes) {
  if (8 % bits != 0 || code_min < INT8_MIN || code_min + (1 << bits) - 1 > INT8_MAX)
    return 0;
  const int64_t bytes = k * bits / 8;
  if (bits == 1)
    unpack_bytes<1>(in, bytes, code_min, codes);
  else if (bits == 2)
    unpack_bytes<2>(in, bytes, code_min, codes);
  else if (bits == 4)
    unpack_bytes<4>(in, bytes, code_min, codes);
  else
    unpack_bytes<8>(in, bytes, code_min, codes);
  return bytes;
}

bool unpack_row(const uint8_t* in, int64_t k, int64_t bits, int64_t code_min, int8_t* codes) {
  const int64_t done = unpack_whole_bytes(in, k, bits, code_min, codes);
  in += done;
  const uint32_t mask = (1U << bits) - 1;
  uint32_t pending = 0;
  int64_t filled = 0;
  bool fits = true;
  for (int64_t i = done * 8 / bits; i < k; ++i) {
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
