// Machines that `sterna plan` knows. Where the figures come from:
//   memory_gib:      what the driver shows of 80, 80 and 141 GB, rounded down
//   host_gib:        2 TB for eight GPUs, as DGX A100 (640 GB), H100 and H200 have
//   peak_tflops:     vendor's data sheets, dense bf16, SXM: 312 (A100), 989.4 (H100, H200)
//   memory_gbs:      about 88 % of the data sheets' 2.04, 3.35 and 4.8 TB/s: streaming kernels
//   pcie_gbs:        about 80 % of 16 lanes each way: 32 GB/s (A100), 64 (H100, H200)
//   host_gbs:        assumed: an eighth of what two sockets' memory reaches; measure yours
//   intra_gbs:       nccl-tests, bus bandwidth of rings in eight GPUs: 230 to 250, 370 (NVLink 4)
//   inter_gbs:       46 to 48 of a 400 Gb/s NIC per GPU; half of that for the A100's 200 Gb/s
//   intra_us, _us:   per hop of a ring: 3 to 5 inside a node, 10 to 15 between nodes
//   mfu:             torchtitan, Llama 3.1 8B, 8 x H100: 39 %; llm.c, GPT-2 1.5B: 46 %
//   mtbf_hours:      Llama 3's report, 419 unexpected interruptions in 54 days of 16,384 GPUs
//   jitter:          assumed: 1 to 3 % are usual, and it matters more than bandwidth
//   storage_gbs, restart_minutes, reserved_gib: assumed; measure yours (docs/planning.md)
// "cpu" is one process of the two-core machine that README.md's figures are of, with Gloo over the
// loopback device in place of a network.
#include "trainer/plan/machine.h"

#include <map>

#include "recipes/components.h"
#include "recipes/suggest.h"

namespace sterna::plan {
namespace {

const std::map<std::string, Machine>& known() {
  static const auto machines = [] {
    std::map<std::string, Machine> all;
    all["h100"] = Machine();

    Machine& h200 = all["h200"];
    h200.memory_gib = 139;
    h200.memory_gbs = 4300;

    Machine& a100 = all["a100"];
    a100.peak_tflops = 312;
    a100.memory_gbs = 1750;
    a100.pcie_gbs = 24;
    a100.intra_gbs = 240;
    a100.inter_gbs = 23;

    Machine& cpu = all["cpu"];
    cpu.memory_gib = 8;
    cpu.reserved_gib = 0.2;
    cpu.peak_tflops = 0.4;
    cpu.mfu = 0.5;
    cpu.memory_gbs = 13;
    cpu.host_gbs = 13;
    cpu.per_node = 2;
    cpu.intra_gbs = 1;
    cpu.intra_us = 50;
    cpu.inter_gbs = 0.1;
    cpu.inter_us = 200;
    cpu.jitter = 0.03;
    cpu.storage_gbs = 0.5;
    cpu.restart_minutes = 1;
    for (auto& [name, machine] : all)
      machine.like = name;
    return all;
  }();
  return machines;
}

std::vector<std::string> keys_of_machines() {
  std::vector<std::string> keys;
  for (const recipes::Field& field : recipes::list_fields<Machine>())
    keys.push_back(field.name);
  return keys;
}

}  // namespace

std::vector<std::string> machine_names() {
  std::vector<std::string> names;
  for (const auto& [name, machine] : known())
    names.push_back(name);
  return names;
}

Machine read_machine(recipes::Section section) {
  const std::vector<std::string> keys = keys_of_machines();
  for (const std::string& key : section.keys())
    if (std::find(keys.begin(), keys.end(), key) == keys.end())
      section.fail(key,
                   "no machine has this key" + recipes::did_you_mean(key, keys) +
                       "; `sterna list section` shows them");
  std::string like = Machine().like;
  section("like", like, "");
  const auto at = known().find(like);
  if (at == known().end()) {
    std::string names;
    for (const std::string& name : machine_names())
      names += (names.empty() ? "" : ", ") + name;
    section.fail("like", "'" + like + "' is not known; known are " + names);
  }
  Machine machine = at->second;
  machine.fields(section);
  return machine;
}

}  // namespace sterna::plan
