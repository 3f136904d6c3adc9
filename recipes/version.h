#pragma once

#include <string>

namespace sterna::recipes {

/// Version of this program, "0.1.0": what `sterna --version` and every manifest say.
std::string version();

}  // namespace sterna::recipes
