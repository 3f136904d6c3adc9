#pragma once

namespace sterna::kernels {

/// IEEE binary16 as the processor converts it, to and from fp32.
#if defined(__clang__) && __clang_major__ < 15
using Half = __fp16;  // the same bits; _Float16 came to its x86 with AVX-512 FP16 alone
#else
using Half = _Float16;
#endif

}  // namespace sterna::kernels
