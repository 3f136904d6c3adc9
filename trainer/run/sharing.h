#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "trainer/run/gradient_exchange.h"
#include "trainer/run/optimizer.h"
#include "trainer/run/weight_shards.h"

namespace sterna::run {

/// The quantizers that a parameter has had or will have from here on; true where each is by_row().
using CutsByRow = std::function<bool(const model::Parameter&)>;

/// What each rank owns, by rank and parameter.
using Shares = std::map<std::string, std::vector<Rows>>;

/// ceil(rows / ranks) of each parameter, or, where a quantizer needs its whole matrix, all of it to
/// one rank.
Shares shares_of(model::Decoder& decoder, int64_t ranks, const CutsByRow& by_row);

/// Says what a student owns whose masters are this rank's rows already.
void own(Student& student, const Shares& shares, int64_t rank);

/// Leaves each rank its rows of masters, quantizers and moments, as shares_of() says.
/// @param quantizer_of  builds the quantizers that the student has now
void cut(Student& student,
         Optimizer& optimizer,
         const dist::World& world,
         const QuantizerOf& quantizer_of,
         const CutsByRow& by_row);

/// The rows of a whole tensor that belong to a slot's rows; `whole` where they are all.
Tensor rows_of(const Slot& slot, const Tensor& whole);

/// How the ranks of a run hold one student (`dist.strategy`): weights come before a part computes
/// and its gradients go when it has, on the way there and back.
class Sharing final : public model::PartGate {
 public:
  /// @param student  cut, unless the strategy is "ddp"; outlives this, as does the world
  Sharing(Student& student, dist::World& world, const DistConfig& config);
  ~Sharing() override;

  /// Shares out the teacher's weights. @param teacher  outlives this
  /// @param shards   of it, where load_frozen() made it; null: every rank has all of it
  void share_teacher(model::Decoder& teacher, std::shared_ptr<WeightShards> shards = nullptr);

  /// True where masters, optimizer and quantizers are those of a rank's own rows.
  bool sharded() const { return sharded_; }

  /// True where every micro-batch is a meeting of all ranks, which none may leave.
  bool meets_in_micro_batches() const { return sharded_ || teacher_ != nullptr; }

  /// True where forward passes are: all ranks then run as many, of whatever length.
  bool meets_in_forward() const {
    return teacher_ != nullptr || (weights_ != nullptr && weights_->frees());
  }

  void hold_heads();
  void leave_heads();

  // ---- a step, in this order
  void start();
  void micro_batch(bool last);
  void enter_head();  ///< weights and gradients of the loss, and the teacher's weights
  void leave_head();
  void enter(int64_t part) override;  ///< the way back
  void leave(int64_t part) override;
  void finish();

  /// What the student trains has changed: other slots have gradients.
  void follow_student();

  /// Sums over ranks where each has only its rows; else as they are.
  void sum(std::vector<double>& values) const;

  WeightShards* teacher() { return teacher_.get(); }
  WeightShards* weights() { return weights_.get(); }
  GradientExchange& gradients() { return *gradients_; }

 private:
  Student& student_;
  dist::World& world_;
  DistConfig config_;
  bool sharded_;
  std::shared_ptr<WeightShards> weights_;  // null where nothing is sharded
  std::shared_ptr<WeightShards> teacher_;  // null where it is replicated
  model::Decoder* taught_by_ = nullptr;
  std::unique_ptr<GradientExchange> gradients_;
};

/// What the heads of student and teacher multiply with is at hand while this lives, however often
/// they are asked; every rank has one at the same time.
class HeadsAtHand {
 public:
  /// @param sharing  may be null: nothing is shared out
  explicit HeadsAtHand(Sharing* sharing) : sharing_(sharing) {
    if (sharing_ != nullptr)
      sharing_->hold_heads();
  }
  ~HeadsAtHand() {
    if (sharing_ != nullptr)
      sharing_->leave_heads();
  }
  HeadsAtHand(const HeadsAtHand&) = delete;
  HeadsAtHand& operator=(const HeadsAtHand&) = delete;

 private:
  Sharing* sharing_;
};

}  // namespace sterna::run
