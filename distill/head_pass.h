#pragma once

#include <vector>

#include "distill/objective.h"
#include "distill/term.h"

namespace sterna::distill {

/// One micro-batch's walk over its tokens: logits of a chunk, what they say, their gradient written
/// over them, and the products that carry it to the hidden states and the head.
///
/// A token weighting may need the teacher's loss over a whole sequence (TSLD), of which a chunk
/// sees a part. Four plans, the first that fits:
///   kKnown     no weighting needs the teacher: weights come from the labels.
///   kWhole     a chunk holds whole sequences: figures, weights, gradient, chunk by chunk.
///   kScaled    the head is frozen and all terms have one view and one direction: the gradient of a
///              row is its weight times a known row, so the row is carried through the head
///              unweighted and scaled when the sequence is done.
///   kTwoPass   the teacher's logits are computed twice, first for the weights alone. Where the
///              head is trained rows mix, and where terms pull two ways kScaled would need two
///              products with the student's head instead of one: no cheaper than this.
class HeadPass {
 public:
  HeadPass(const std::vector<Term>& terms,
           const HeadInputs& inputs,
           const Counts& totals,
           Tensor head_grad);

  /// @param chunk  tokens at a time; 0: choose
  HeadResult run(int64_t chunk);

 private:
  enum class Plan { kKnown, kWhole, kScaled, kTwoPass };

  Plan choose_plan(int64_t capacity) const;
  void choose_views();
  size_t view_for(const View& wanted);
  bool one_direction() const;
  int64_t capacity(int64_t chunk) const;
  void allocate(int64_t tokens);

  void weigh(int64_t begin, int64_t count, const Tensor& teacher_label_ce);
  void teacher_pass(int64_t step);
  void chunk_pass(int64_t begin, int64_t count);
  void add_teacher(int64_t begin, Logits& logits);
  std::vector<Viewed> look(const Logits& logits) const;
  void add_sums(int64_t begin, int64_t count, const std::vector<Viewed>& views);
  void finish_scaled();
  void add_pulls(int64_t begin, int64_t count, std::vector<Viewed>& views) const;
  Pull unit_pull(int64_t count) const;

  const std::vector<Term>& terms_;
  std::vector<double> scales_;  // weight / count of each term
  HeadInputs in_;               // hidden states as [B T, D], labels as [B T]
  Tensor head_grad_;
  int64_t batch_, length_, vocab_;
  Plan plan_ = Plan::kKnown;
  std::vector<View> views_;      // the first is at temperature 1 where a label is compared with
  std::vector<size_t> view_of_;  // of each term
  std::vector<Tensor> weights_;  // fp64 [B T] of each term
  Tensor student_logits_;        // [chunk, V]
  Tensor teacher_logits_;        // [chunk, V] or undefined; fp32 where spread from top words
  Tensor figures_;               // kScaled: fp64 [B T, 11]
  HeadResult result_;
};

}  // namespace sterna::distill
