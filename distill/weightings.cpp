#include "distill/weighting.h"

namespace sterna::distill {

// One line per weighting here, one below. Each lives in distill/<name>.cpp.
void add_tsld(recipes::Registry<TokenWeighting>& r);
void add_uniform(recipes::Registry<TokenWeighting>& r);

const recipes::Registry<TokenWeighting>& weightings() {
  static const auto registry = [] {
    recipes::Registry<TokenWeighting> r("token weighting");
    add_tsld(r);
    add_uniform(r);
    return r;
  }();
  return registry;
}

}  // namespace sterna::distill
