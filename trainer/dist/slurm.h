#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sterna::dist {

/// "node03" of "node[03-05,09],gpu1": the first host of a list as Slurm writes it.
std::string first_host(const std::string& list);

/// Tasks on a node of a step, from "2(x3),1": two on the first three, one on the fourth.
/// @return  nothing where the list does not say
std::optional<int64_t> tasks_on_node(const std::string& list, int64_t node);

/// Whether a step's number is one that srun was asked for: batch scripts and the shell of salloc
/// are steps as well, with numbers from the upper end.
bool is_step_of_srun(const std::string& step);

}  // namespace sterna::dist
