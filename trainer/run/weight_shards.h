#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "trainer/dist/world.h"
#include "trainer/model/decoder.h"
#include "trainer/run/packing.h"

namespace sterna::run {

using at::Tensor;

/// Compute weights of which every rank makes some rows: gathered part by part, the next part while
/// the one before computes. As a decoder's gate it brings what a part needs before the part runs.
/// Every rank calls the same functions in the same order.
class WeightShards final : public model::PartGate {
 public:
  struct Weight {
    Tensor* value;           ///< the whole of it, into the model
    std::vector<Rows> rows;  ///< by rank
  };
  using Parts = std::vector<std::vector<Weight>>;  ///< by part, the head's last

  /// A weight may be without storage (storage.h): all of it is to be written then.
  /// @param frees  a part's weights are there while somebody is in it; else they stay (ZeRO-1, 2)
  WeightShards(dist::World& world, const Parts& parts, bool frees);

  /// This rank's rows of a weight, to be written: then say that the part changed.
  const Tensor& own_rows(const Tensor* value) const;

  /// Rows of this part were written: what is there of it is old.
  void changed(int64_t part);

  /// Waits until the part's weights are there, and starts to fetch those of the next.
  void enter(int64_t part) override;
  void leave(int64_t part) override;

  /// As enter(), but what is needed next is none of this object's business.
  void hold(int64_t part);

  /// Which way the parts are entered from now on; backward begins with the last block.
  void turn(bool back);

  /// Gives up what was fetched ahead and not entered; rows may be written then.
  void settle();

  /// All parts at once, for whoever looks at the model, until let_go().
  void hold_all();
  void let_go();

  /// True where computing is a meeting of all ranks.
  bool frees() const { return frees_; }

  dist::World& world() const { return world_; }
  int64_t bytes() const;  ///< held now: weights, this rank's rows, and what is under way

 private:
  struct Part {
    explicit Part(int64_t ranks) : packing(ranks) {}
    std::vector<Weight> weights;
    Packing packing;          // in bytes
    std::vector<Tensor> own;  // by weight
    Tensor segment;           // uint8: this rank's rows where parts are freed
    Tensor sent, gathered;    // uint8, under way
    dist::WorkHandle work;
    bool here = false;
    int64_t users = 0;
  };
  void fetch(int64_t part);
  void take(Part& part);
  Tensor sent_of(Part& part) const;

  dist::World& world_;
  bool frees_;
  at::TensorOptions bytes_ = at::kByte;  ///< where the weights lie
  bool back_ = false;
  bool all_ = false;
  std::vector<Part> parts_;
};

/// The part that a parameter belongs to, as PartGate counts; an untied head is the part behind the
/// final norm.
int64_t part_of(const model::Decoder& decoder, const model::Parameter& parameter);
int64_t head_part(const model::Decoder& decoder);

/// Parts of a decoder, the head's included.
inline int64_t parts_of(const model::Decoder& decoder) {
  return decoder.config().layers + 3;
}

/// A frozen decoder of which this rank holds its rows, without having held more of it than one
/// matrix.
/// @param decoder  without weights
/// @param whole    reads a parameter's weights
/// @param device   where its rows are to be
std::shared_ptr<WeightShards> load_frozen(
    model::Decoder& decoder,
    dist::World& world,
    const std::function<Tensor(const model::Parameter&)>& whole,
    at::Device device);

/// Shares a frozen decoder's weights out, packed ones in their few bits, and becomes its gate.
std::shared_ptr<WeightShards> share_frozen(model::Decoder& decoder, dist::World& world);

}  // namespace sterna::run
