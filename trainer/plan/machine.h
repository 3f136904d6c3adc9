#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "recipes/recipe.h"

namespace sterna::plan {

/// `[machine]`: what `sterna plan` computes for. A rank is a GPU, or a process on a CPU. The
/// defaults are an H100's; machine.cpp has the others, and where each figure comes from.
struct Machine {
  std::string like = "h100";
  double memory_gib = 79;
  double reserved_gib = 2;
  double peak_tflops = 989.4;
  double mfu = 0.4;
  double memory_gbs = 3000;
  double host_gib = 230;
  double host_gbs = 40;
  double pcie_gbs = 50;
  int64_t per_node = 8;
  double intra_gbs = 370;
  double intra_us = 4;
  double inter_gbs = 46;
  double inter_us = 12;
  double jitter = 0.015;
  double mtbf_hours = 50000;
  double storage_gbs = 2;
  double restart_minutes = 10;

  template <class Visitor>
  void fields(Visitor& v) {
    using recipes::Range;
    const Range<double> some{1e-9, 1e12};
    const Range<double> any{0.0, 1e12};
    v("like", like, "the machine that keys left out are of; see sterna plan --help");
    v("memory_gib", memory_gib, "GiB of memory of a rank", some);
    v("reserved_gib", reserved_gib, "GiB of these that libraries and collectives take", any);
    v("peak_tflops", peak_tflops, "dense bf16 peak of a rank", some);
    v("mfu", mfu, "share of the peak that forward and backward reach", Range{1e-6, 1.0});
    v("memory_gbs", memory_gbs, "GB/s that memory-bound loops reach", some);
    v("host_gib", host_gib, "GiB of host memory of a rank, beside a GPU", some);
    v("host_gbs", host_gbs, "GB/s that a rank's loops over host memory reach", some);
    v("pcie_gbs", pcie_gbs, "GB/s between a GPU and host memory, each way", some);
    v("per_node", per_node, "ranks of a node", Range{int64_t{1}, int64_t{1} << 20});
    v("intra_gbs", intra_gbs, "GB/s that collectives of a node reach (bus bandwidth)", some);
    v("intra_us", intra_us, "microseconds from rank to rank in a node", any);
    v("inter_gbs", inter_gbs, "GB/s of a rank's way out of its node", some);
    v("inter_us", inter_us, "microseconds from node to node", any);
    v("jitter", jitter, "deviation of a rank's step time, of its logarithm", Range{0.0, 1.0});
    v("mtbf_hours", mtbf_hours, "hours between failures of one rank", some);
    v("storage_gbs", storage_gbs, "GB/s with which a node writes checkpoints", some);
    v("restart_minutes", restart_minutes, "from a failure to the next step", any);
  }
};

/// Names that `like` may hold.
std::vector<std::string> machine_names();

/// @throws recipes::RecipeError  for a key that no machine has, and for an unknown name
Machine read_machine(recipes::Section section);

}  // namespace sterna::plan
