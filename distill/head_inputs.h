#pragma once

#include <ATen/ATen.h>

#include "distill/top_words.h"

namespace sterna::distill {

/// What the head of one micro-batch is given. B sequences, T positions, D width (student's and
/// teacher's may differ), V vocabulary. Hidden states may be of another dtype than their head: the
/// product is computed in the head's.
struct HeadInputs {
  Tensor student_hidden;  ///< [B, T, D] after the final norm
  Tensor student_head;    ///< [V, D] compute dtype
  Tensor teacher_hidden;  ///< [B, T, Dt]; undefined where no term needs a teacher
  Tensor teacher_head;    ///< [V, Dt]
  Tensor labels;          ///< int64 [B, T]: the token to predict at each position or kIgnoreLabel
  TopWords teacher_top = {};  ///< of [B, T] tokens: in place of the teacher's states and head
};

}  // namespace sterna::distill
