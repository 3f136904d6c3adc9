#pragma once

#include <string>
#include <vector>

#include "trainer/cli/command.h"

namespace sterna::cli {

/// Sorts what was typed behind the verb.
/// @throws UserError  for an unknown flag (with the nearest), a flag without its value, and too
///         few or too many recipes or paths
Invocation parse_invocation(const Command& command, const std::vector<std::string>& arguments);

/// What `sterna VERB --help` prints.
/// @param program  how the program was called
std::string help_text(const Command& command, const std::string& program);

/// What `sterna --help` prints.
std::string help_text(const std::string& program);

/// Flags that every verb takes.
const std::vector<Flag>& common_flags();

}  // namespace sterna::cli
