#pragma once

#include <memory>

#include "trainer/dist/world.h"
#include "trainer/run/config.h"
#include "trainer/run/student.h"

namespace sterna::run {

/// Sums the gradients of a step over ranks, each part's as soon as it is complete, while the way
/// back goes on. Every rank calls the same functions in the same order; parts close from the last
/// to the first.
class GradientExchange {
 public:
  virtual ~GradientExchange() = default;

  /// A step begins: gradients are zero.
  virtual void start() = 0;

  /// @param last  of this rank's micro-batches of the step
  virtual void micro_batch(bool last) = 0;

  /// Somebody is about to add to the part's gradients.
  virtual void open(int64_t part) = 0;

  /// This micro-batch adds nothing more to them.
  virtual void close(int64_t part) = 0;

  /// Waits for all that is under way; then gradient_of() every slot is that of the whole step.
  virtual void finish() = 0;

  virtual int64_t bytes() const = 0;  ///< held now: gradients and what is under way
};

/// Every rank gets all gradients (DDP): they are views into flat buffers of `dist.bucket_mib`, each
/// summed in the last micro-batch when its last gradient is complete.
std::unique_ptr<GradientExchange> make_buckets(Student& student,
                                               dist::World& world,
                                               const DistConfig& config);

/// Every rank gets the gradients of its own rows, of a cut student. ZeRO-1 sums in the last
/// micro-batch; ZeRO-2 and 3 in each, so that a part's gradients exist from its way back to there.
std::unique_ptr<GradientExchange> make_scatter(Student& student,
                                               dist::World& world,
                                               const DistConfig& config);

/// The part whose way back completes the slot's gradient.
int64_t part_of(Student& student, const Slot& slot);

}  // namespace sterna::run
