#pragma once

#include <string>

namespace sterna::dist {

/// Host, number and start of the process that has started this one: no other one ever has all
/// three. What a launcher starts again says the same.
std::string own_parent();

}  // namespace sterna::dist
