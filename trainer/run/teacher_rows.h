#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "distill/objective.h"

namespace sterna::run {

/// How a teacher's answer to one sample lies on disk. T tokens, D what its head reads, K words.
///   hidden  bf16 [T, D]: what the head reads
///   topk    ids uint16 (uint32 beyond 65,536 words) [T, K], then log p fp16 or fp32 [T, K + 1]
struct TeacherRows {
  std::string kind = "hidden";
  int64_t tokens = 0;
  int64_t width = 0;  ///< hidden
  int64_t vocab = 0;  ///< topk, as what follows
  int64_t k = 0;
  at::ScalarType dtype = at::kHalf;

  bool hidden() const { return kind == "hidden"; }
  int64_t bytes_per_token() const;
  int64_t bytes() const;  ///< of a sample, a multiple of 8

  /// @param states  [B, T, D]; with `topk`, of these words
  /// @param words   topk: of B * T tokens
  /// @return        a row for each sample
  std::vector<std::vector<std::byte>> pack(const at::Tensor& states,
                                           const distill::TopWords& words) const;

  /// The inverse: fills `teacher_hidden` or `teacher_top`.
  void unpack(const std::vector<std::span<const std::byte>>& rows, distill::HeadInputs& head) const;
};

}  // namespace sterna::run
