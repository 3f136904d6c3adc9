#pragma once

#include <string>
#include <vector>

#include "trainer/eval/perplexity.h"

namespace sterna::eval {

/// What every scored position gave, in order.
struct Positions {
  std::vector<double> nll;
  std::vector<double> reference_nll;
  std::vector<double> kld;
  int64_t same_top = 0;
};

/// NaN counts as infinitely bad: it has no place in a sorted list.
void append(std::vector<double>& to, const at::Tensor& values);

void append(Positions& to, const Positions& more);

/// Values of batches as bytes, so that a process can tell another.
class PositionBytes {
 public:
  explicit PositionBytes(std::string bytes = {}) : bytes_(std::move(bytes)) {}

  void add(const Positions& p);
  Positions next();
  const std::string& bytes() const { return bytes_; }

 private:
  void put(const void* from, size_t size) { bytes_.append(static_cast<const char*>(from), size); }
  void get(void* to, size_t size);

  std::string bytes_;
  size_t at_ = 0;
};

/// Of positions with a reference.
Divergence divergence_of(const Positions& positions);

/// The result's figures of its likelihood.
void fill(const Positions& positions, EvalResult& result);

}  // namespace sterna::eval
