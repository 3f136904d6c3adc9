#pragma once

#include "trainer/plan/memory_model.h"

namespace sterna::plan {

inline constexpr double kFp32 = 4;

/// Bytes that one block keeps of a token: what it reads, its normed input, queries, keys, values
/// and context with the logarithm of its sums, the first residual sum, its normed value, and the
/// inputs of the feed-forward part's activation and last product.
double saved_per_token(const model::DecoderConfig& c, double bytes);

/// Of weights, in a model's dtype or packed.
double parameter_bytes(const PartSize& size, const std::string& dtype);

// ---- what other stages than a training step hold, in bytes

/// A forward pass over some windows, and what is made of the logits of one (perplexity.cpp): with a
/// teacher log probabilities of both, and of these the ratio, its weights and their product.
double evaluation_bytes(const Workload& work);

/// Streams in fp32, and the block in training: its weights as they were, gradients and moments, and
/// what backward needs of a batch with output, difference and their gradient.
double blockwise_bytes(const Workload& work, int64_t ranks);

/// What lies there of models before training: ranks load their rows alone, but for a student that
/// the block-wise stage or losses on ranges need whole, and a teacher that is rounded first.
double models_before(const Workload& work, const MemoryEstimate& m);

}  // namespace sterna::plan
