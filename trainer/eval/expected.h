#pragma once

#include <string>
#include <vector>

#include "trainer/io/tensor_file.h"
#include "trainer/model/decoder.h"

namespace sterna::eval {

/// How far one tensor lies from what another program computed.
struct TensorError {
  std::string name;
  double max = 0;   ///< absolute
  double mean = 0;  ///< absolute
};

/// Runs `input_ids` [B, T] of a file through the decoder and compares with the other tensors in
/// it: logits [B, T, V]; hidden_states.i [B, T, D] (0 the embeddings, the last one after the final
/// norm); attentions.i [B, H, T, T] by the eager path; or topk_indices, topk_values [B, T, K] and
/// logsumexp [B, T]. Logits and hidden states take the fused path that evaluation takes.
/// @throws recipes::UserError  for a tensor it does not know or of another shape, padding included,
///                             and where nothing is left to compare
std::vector<TensorError> compare_with_expected(const model::Decoder& decoder,
                                               const io::TensorFile& expected);

/// RoPE with its frequencies rounded to bf16, as a model has it that was cast as a whole
/// (model.bfloat16() in Python) before its values were computed: at position 24 such a one is a
/// hundredth off. @throws recipes::UserError  where the frequencies depend on the length
kvcache::RopeConfig with_bf16_frequencies(const kvcache::RopeConfig& rope);

}  // namespace sterna::eval
