#pragma once

namespace sterna::cli {

/// Tells malloc to keep what is freed instead of returning it to the system. A training step frees
/// and asks again for gigabytes of activations; without this, each comes back as pages that the
/// kernel zeroes first (12 % of a distillation step of SmolLM2-135M). The peak stays the same.
/// Called once, before any thread starts; does nothing where malloc is not glibc's.
void keep_freed_memory();

/// Takes that back for what is large: it goes back to the system, or to the next tensor of its size
/// (block_cache.h), as it is freed, and the heap does not grow ahead. Ranks that share a model out
/// fill and free buffers of many sizes, between which it would keep holes (docs/planning.md); so
/// does an evaluation that streams its weights.
void return_large_blocks();

}  // namespace sterna::cli
