#pragma once

#include <memory>
#include <vector>

#include "trainer/run/lockstep.h"
#include "trainer/run/offload.h"
#include "trainer/run/student.h"

namespace sterna::run {

/// Forward and backward of one micro-batch, block by block. The block's boundary is the only place
/// where autograd graphs meet: each block is a graph of its own, freed as backward passes it.
class Tape {
 public:
  /// @param recompute  keep only the inputs of blocks and run each again in backward
  /// @param offload    where a recomputing tape keeps them, or null: in place
  Tape(Student& student, bool recompute, std::unique_ptr<Offload> offload = nullptr);

  /// @param beside  the teacher that goes along, or null; a recomputing tape takes no intervention
  /// @return        what the head reads, [B, T, D], cut from every graph
  Tensor forward(const Inputs& inputs, Lockstep* beside = nullptr);

  /// Adds to the gradient buffers of all trained slots. The tape is empty afterwards.
  /// @param d_hidden  [B, T, D]
  /// @param borders   told before and behind each part's way back, or null
  void backward(const Tensor& d_hidden, model::PartGate* borders = nullptr);

 private:
  struct Record {
    Tensor in;     ///< leaf; undefined for the embedding, which reads tokens, and where offloaded
    Tensor out;    ///< end of the block's graph; undefined where it is run again
    Tensor d_out;  ///< what the part's output is pulled to beside what comes from behind, or none
  };
  /// Part 0 is the embedding, 1..L the blocks, L+1 the final norm.
  Tensor run(int64_t part, const Tensor& x, const model::AttentionOutput& site = {});
  Tensor leaf(int64_t part, const Tensor& x) const;
  bool offloads(int64_t part) const;
  void bring_back(int64_t part, Record& record);

  Student& student_;
  bool recompute_;
  std::unique_ptr<Offload> offload_;
  Inputs inputs_;
  std::unique_ptr<kvcache::Cache> cache_;
  std::vector<Record> records_;
};

/// Walks one graph back from `out`; parameters gather their own gradients.
/// @return  gradient for `in`; undefined where it does not ask for one
Tensor pull(const Tensor& in, const Tensor& out, const Tensor& d_out);

}  // namespace sterna::run
