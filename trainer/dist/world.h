#pragma once

#include <memory>
#include <string>
#include <vector>

#include <ATen/ATen.h>

namespace sterna::dist {

/// Something a collective call hands back; wait() returns when its tensors may be used.
class Work {
 public:
  virtual ~Work() = default;
  virtual void wait() = 0;
};
using WorkHandle = std::shared_ptr<Work>;

/// The processes of one run. A world of one does nothing, so no caller asks how many there are.
class World {
 public:
  virtual ~World() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  /// Sums in place over all ranks; every rank passes tensors of the same shapes.
  virtual WorkHandle all_reduce(const std::vector<at::Tensor>& tensors) = 0;

  /// out [n / size] = this rank's part of the sum of `in` [n] over ranks.
  virtual WorkHandle reduce_scatter(at::Tensor out, const at::Tensor& in) = 0;

  /// out [n * size] = every rank's `in` [n] behind each other.
  virtual WorkHandle all_gather(at::Tensor out, const at::Tensor& in) = 0;

  virtual WorkHandle broadcast(const std::vector<at::Tensor>& tensors, int64_t root) = 0;

  /// Every rank's bytes, by rank.
  virtual std::vector<std::string> gather_bytes(const std::string& bytes) = 0;

  /// Waits for all ranks, however long one of them works: unlike the calls above, which end the job
  /// where a rank does not come within the timeout.
  virtual void barrier() = 0;

  /// Ends the whole job; every rank sees `reason`.
  [[noreturn]] virtual void abort(const std::string& reason) = 0;

  /// The ranks given, as a world of their own; null where this rank is not among them.
  virtual std::unique_ptr<World> subgroup(const std::vector<int64_t>& ranks) = 0;

  /// Tells which step this rank is at, for messages about lost ranks; from 0.
  virtual void at_step(int64_t /*step*/) {}
};

std::unique_ptr<World> make_single();

}  // namespace sterna::dist
