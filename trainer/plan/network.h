#pragma once

#include <cstdint>

#include "trainer/plan/machine.h"

namespace sterna::plan {

/// What ranks do together. An all-reduce is a reduce-scatter and an all-gather behind it.
enum class Collective { kAllReduce, kReduceScatter, kAllGather };

/// Bytes that each rank sends, for `bytes` of the whole vector: (N - 1) / N of them, twice for an
/// all-reduce.
double bytes_sent(Collective what, double bytes, int64_t ranks);

/// Seconds of a collective by latency and bandwidth, the faster one of
///   ring          all ranks in one; between nodes as many rings as a node has ranks, each with its
///                 own way out
///   hierarchical  among the ranks of one place in all nodes, and within each node
/// Ranks beyond `per_node` fill further nodes.
double seconds_of(Collective what, double bytes, int64_t ranks, const Machine& machine);

}  // namespace sterna::plan
