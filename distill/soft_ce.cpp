// Soft cross-entropy: the student's cross-entropy with the teacher's distribution,
//   soft_ce = - sum over words of p_t log p_s  =  kl + entropy of the teacher

#include "distill/divergence.h"

namespace sterna::distill {
namespace {

class SoftCrossEntropy final : public Divergence {
 public:
  Target target() const override { return Target::kTeacher; }
  Tensor per_token(const LogitFigures& figures) const override { return figures.soft_ce(); }
};

}  // namespace

void add_soft_ce(recipes::Registry<Divergence>& r) {
  r.add<SoftCrossEntropy>("soft_ce", "cross-entropy with the teacher's distribution");
}

}  // namespace sterna::distill
