#include "recipes/version.h"

namespace sterna::recipes {

std::string version() {
  return STERNA_VERSION;
}

}  // namespace sterna::recipes
