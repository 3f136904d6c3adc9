#include "trainer/dist/world_c10d.h"

#include <cstring>
#include <map>

#include <ATen/OpMathType.h>

#include "recipes/user_error.h"
#include "trainer/dist/pending.h"

namespace sterna::dist {
namespace {

using at::Tensor;

std::string size_text(double bytes) {
  constexpr double kKiB = 1024;
  const double kib = bytes / kKiB;
  if (kib < 1)
    return std::to_string(static_cast<int64_t>(bytes)) + " bytes";
  if (kib < kKiB)
    return std::to_string(static_cast<int64_t>(kib + 0.5)) + " KiB";
  return std::to_string(static_cast<int64_t>(kib / kKiB + 0.5)) + " MiB";
}

std::string call_text(const char* operation, const std::vector<Tensor>& tensors) {
  double bytes = 0;
  for (const Tensor& tensor : tensors)
    bytes += static_cast<double>(tensor.nbytes());
  return std::string(operation) + " of " + size_text(bytes);
}

/// Bytes know neither NaN nor dtype: what is only moved is moved as such.
Tensor as_bytes(const Tensor& tensor) {
  TORCH_CHECK(tensor.is_contiguous(), "World: expected a contiguous tensor");
  return tensor.view({-1}).view(at::kByte);
}

/// What every rank has sent this one, one behind the other, added up in the order of ranks; in fp32
/// where it came in fewer bits.
class SumOfRows final : public Work {
 public:
  SumOfRows(WorkHandle arrival, Tensor rows, Tensor out)
      : arrival_(std::move(arrival)), rows_(std::move(rows)), out_(std::move(out)) {}

  void wait() override {
    if (!rows_.defined())
      return;
    arrival_->wait();
    const at::NoGradGuard no_grad;
    Tensor sum = rows_[0].to(at::toOpMathType(rows_.scalar_type()));
    for (int64_t rank = 1; rank < rows_.size(0); ++rank)
      sum.add_(rows_[rank]);
    out_.copy_(sum.view_as(out_));
    rows_ = Tensor();
  }

 private:
  WorkHandle arrival_;
  Tensor rows_;  ///< [N, n]
  Tensor out_;
};

class C10dWorld final : public World {
 public:
  C10dWorld(Connect connect, Circle circle, Pulse& pulse)
      : connect_(std::move(connect)), circle_(std::move(circle)), pulse_(pulse) {
    const int64_t number = pulse_.begin("connecting " + std::to_string(size()) + " ranks");
    pulse_.wait_for(number);
    host_ = connected(at::kCPU);
    pulse_.wait_for(0);
    pulse_.end(number);
  }

  int64_t rank() const override { return circle_.rank; }
  int64_t size() const override { return static_cast<int64_t>(circle_.ranks.size()); }

  WorkHandle all_reduce(const std::vector<Tensor>& tensors) override {
    auto work = begin(call_text("all_reduce", tensors));
    for (Flat& flat : flatten(tensors))
      work->add(
          [&](const Tensor& whole) {
            std::vector<Tensor> one{whole};
            return on(whole).allreduce(one);
          },
          std::move(flat));
    return work;
  }

  WorkHandle reduce_scatter(Tensor out, const Tensor& in) override {
    TORCH_CHECK(in.numel() == out.numel() * size() && in.is_contiguous() && out.is_contiguous(),
                "reduce_scatter: expected [n] and contiguous [n * ",
                size(),
                "], found ",
                out.numel(),
                " and ",
                in.numel());
    auto work = begin(call_text("reduce_scatter", {in}));
    if (in.is_cpu())
      return scattered_rows(std::move(work), std::move(out), in);
    Tensor from = in;
    work->add([&](const Tensor&) { return on(from)._reduce_scatter_base(out, from); }, {in, {}});
    return work;
  }

  WorkHandle all_gather(Tensor out, const Tensor& in) override {
    TORCH_CHECK(out.numel() == in.numel() * size() && out.scalar_type() == in.scalar_type(),
                "all_gather: expected [n] and [n * ",
                size(),
                "] of one dtype, found ",
                in.numel(),
                " and ",
                out.numel());
    auto work = begin(call_text("all_gather", {out}));
    Tensor from = as_bytes(in.contiguous());
    Tensor to = as_bytes(out);
    work->add([&](const Tensor&) { return on(from)._allgather_base(to, from); }, {from, {}});
    return work;
  }

  WorkHandle broadcast(const std::vector<Tensor>& tensors, int64_t root) override {
    TORCH_CHECK(root >= 0 && root < size(), "broadcast: there is no rank ", root);
    auto work = begin(call_text("broadcast", tensors));
    c10d::BroadcastOptions options;
    options.rootRank = root;
    for (Flat& flat : flatten(tensors))
      work->add(
          [&](const Tensor& whole) {
            std::vector<Tensor> bytes{as_bytes(whole)};
            return on(whole).broadcast(bytes, options);
          },
          std::move(flat));
    return work;
  }

  std::vector<std::string> gather_bytes(const std::string& bytes) override {
    barrier();
    const auto sizes = at::empty({size()}, at::kLong);
    all_gather(sizes, at::full({1}, static_cast<int64_t>(bytes.size()), at::kLong))->wait();
    const int64_t longest = sizes.max().item<int64_t>();
    std::vector<std::string> all(static_cast<size_t>(size()));
    if (longest == 0)
      return all;
    Tensor own = at::zeros({longest}, at::kByte);
    std::memcpy(own.mutable_data_ptr(), bytes.data(), bytes.size());
    const Tensor table = at::empty({size(), longest}, at::kByte);
    all_gather(table, own)->wait();
    for (int64_t i = 0; i < size(); ++i)
      all[static_cast<size_t>(i)].assign(static_cast<const char*>(table[i].const_data_ptr()),
                                         static_cast<size_t>(sizes[i].item<int64_t>()));
    return all;
  }

  void barrier() override {
    auto work = begin("barrier", /*patient=*/true);
    work->add([&](const Tensor&) { return host_->barrier(); }, {});
    work->wait();
  }

  [[noreturn]] void abort(const std::string& reason) override {
    pulse_.fail({kRankLost, "sterna: " + failed_text(pulse_.shown()) + ": " + reason});
  }

  std::unique_ptr<World> subgroup(const std::vector<int64_t>& ranks) override {
    Circle inner{{}, -1, circle_.name + "/"};
    for (const int64_t rank : ranks) {
      TORCH_CHECK(rank >= 0 && rank < size() &&
                      (inner.ranks.empty() ||
                       circle_.ranks[static_cast<size_t>(rank)] > inner.ranks.back()),
                  "subgroup: expected ascending ranks below ",
                  size());
      if (rank == circle_.rank)
        inner.rank = static_cast<int64_t>(inner.ranks.size());
      inner.ranks.push_back(circle_.ranks[static_cast<size_t>(rank)]);
      inner.name += std::to_string(inner.ranks.back()) + ",";
    }
    inner.name += std::to_string(++subgroups_[inner.name]);
    if (inner.rank < 0)
      return nullptr;
    if (inner.ranks.size() == 1)
      return make_single();
    return std::make_unique<C10dWorld>(connect_, inner, pulse_);
  }

  void at_step(int64_t step) override { pulse_.at_step(step); }

 private:
  /// c10d's Gloo sums the whole on every rank, which keeps its part of it: that is twice the bytes.
  WorkHandle scattered_rows(std::shared_ptr<Pending> work, Tensor out, const Tensor& in) {
    const Tensor rows = at::empty_like(in).view({size(), -1});
    Tensor from = as_bytes(in);
    Tensor to = as_bytes(rows);
    work->add(
        [&](const Tensor&) {
          std::vector<int64_t> even;
          return host_->alltoall_base(to, from, even, even);
        },
        {in, {}});
    return std::make_shared<SumOfRows>(std::move(work), rows, std::move(out));
  }

  std::shared_ptr<Pending> begin(const std::string& call, bool patient = false) {
    return std::make_shared<Pending>(pulse_, pulse_.begin(call), patient);
  }

  Backend connected(at::DeviceType device) {
    try {
      return connect_(circle_, device);
    } catch (const recipes::UserError&) {
      throw;
    } catch (const std::exception& error) {
      pulse_.lost(error.what());
    }
  }

  /// The backend for tensors where this one lies; that of GPUs is connected when it is needed
  /// first.
  c10d::Backend& on(const Tensor& tensor) {
    if (tensor.is_cpu())
      return *host_;
    if (!device_)
      device_ = connected(tensor.device().type());
    return *device_;
  }

  Connect connect_;
  Circle circle_;
  Pulse& pulse_;
  Backend host_;
  Backend device_;  ///< null before the first tensor that is not in host memory
  std::map<std::string, int64_t> subgroups_;  ///< made so far, by their ranks
};

}  // namespace

std::unique_ptr<World> make_c10d(const Connect& connect, const Circle& circle, Pulse& pulse) {
  return std::make_unique<C10dWorld>(connect, circle, pulse);
}

}  // namespace sterna::dist
