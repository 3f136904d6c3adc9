#pragma once

namespace sterna::cli {

/// Tells malloc to keep what is freed instead of returning it to the system. A training step frees
/// and asks again for gigabytes of activations; without this, each comes back as pages that the
/// kernel zeroes first (12 % of a distillation step of SmolLM2-135M). The peak stays the same.
/// Called once, before any thread starts; does nothing where malloc is not glibc's.
void keep_freed_memory();

/// Large blocks go back to the system as they are freed. Ranks that share a model out fill and free
/// buffers of many sizes, between which the heap would keep holes: up to twice the memory of what
/// they hold (docs/planning.md).
void return_large_blocks();

}  // namespace sterna::cli
