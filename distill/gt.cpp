// Ground truth: the student's cross-entropy with the label, -log p_s[label].

#include "distill/divergence.h"

namespace sterna::distill {
namespace {

class GroundTruth final : public Divergence {
 public:
  Target target() const override { return Target::kLabel; }
  Direction direction() const override { return {.label = 1}; }
  Tensor per_token(const LogitFigures& figures) const override { return figures.label_ce(); }
};

}  // namespace

void add_gt(recipes::Registry<Divergence>& r) {
  r.add<GroundTruth>("gt", "cross-entropy with the next token; needs no teacher");
}

}  // namespace sterna::distill
