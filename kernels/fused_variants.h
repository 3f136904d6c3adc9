// The variants behind activation.h, attend.h, logit_loss.h and norm.h, by instruction set.
#pragma once

#include "kernels/activation.h"
#include "kernels/attend.h"
#include "kernels/logit_loss.h"
#include "kernels/norm.h"

#define STERNA_DECLARE_VARIANTS                                                              \
  template <class T>                                                                         \
  void attend(const AttendShape&, const T* q, const T* k, const T* v, float* scratch, T* y); \
  template <class S, class T>                                                                \
  LogitStats logit_stats(const LogitRow<S, T>& row);                                         \
  template <class S, class T>                                                                \
  void logit_gradient(const LogitRow<S, T>& row, const LogitStats&, LogitPull pull, S* out); \
  void exponential(const float* x, float* y, int64_t size);                                  \
  template <class T>                                                                         \
  void silu_mul(const T* gate, const T* up, T* y, int64_t size);                             \
  template <class T>                                                                         \
  void silu_mul_backward(const SiluMulGrad<T>& tensors, int64_t size);                       \
  float rms_rstd(const float* x, int64_t width, float eps);                                  \
  template <class X, class Y>                                                                \
  void rms_norm(const NormShape&, const X* x, const float* weight, Y* y, float* rstd);       \
  template <class X, class Y>                                                                \
  void rms_norm_backward(const NormShape& shape, const NormGrad<X, Y>& tensors);

namespace sterna::kernels::avx2 {
STERNA_DECLARE_VARIANTS
}
namespace sterna::kernels::avx512 {
STERNA_DECLARE_VARIANTS
}
#undef STERNA_DECLARE_VARIANTS
