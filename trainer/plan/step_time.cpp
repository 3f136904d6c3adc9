#include "trainer/plan/step_time.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "trainer/plan/memory_model.h"
#include "trainer/run/step_log.h"

namespace sterna::plan {
namespace {

/// Multiply-adds of one token in each part's forward pass; the head counts as the last part.
std::vector<double> multiplies(const model::DecoderConfig& c, int64_t seq_len) {
  const auto vocab = static_cast<double>(c.vocab * c.embedding_width());
  const double all = run::step_flops(c, nullptr, seq_len).student / 6;
  std::vector<double> parts(static_cast<size_t>(c.layers) + 2,
                            (all - vocab) / static_cast<double>(c.layers));
  parts.front() = 0;
  parts.back() = vocab;
  return parts;
}

/// A rank's computing and its network, each at the moment when it is free again.
class Replay {
 public:
  Replay(const Workload& work, const Share& share, const Machine& machine)
      : work_(work),
        share_(share),
        machine_(machine),
        student_(multiplies(work.student, work.settings.train.seq_len)) {
    if (work.teacher)
      teacher_ = multiplies(*work.teacher, work.settings.train.seq_len);
    const double tokens = static_cast<double>(share.rows * work.settings.train.seq_len);
    seconds_ = 2 * tokens / (machine.peak_tflops * 1e12 * machine.mfu);
  }

  StepTime run() {
    for (int64_t i = 0; i < share_.micro_batches(); ++i) {
      run_teacher();
      forward(/*first=*/i == 0);
      backward(/*last=*/i + 1 == share_.micro_batches());
    }
    settle();
    wait(network_, time_.exposed);
    wait(copied_, time_.uncovered);
    update();
    return time_;
  }

 private:
  bool zero(int64_t stage) const { return zero_stage(work_.settings.dist) >= stage; }

  /// Of what a rank owns.
  double own() const { return zero(1) ? 1.0 / static_cast<double>(share_.ranks) : 1.0; }

  /// @return  when it is done
  double send(Collective what, double bytes) {
    const double seconds = seconds_of(what, bytes, share_.ranks, machine_);
    network_ = std::max(network_, compute_) + seconds;
    time_.network += seconds;
    time_.sent += bytes_sent(what, bytes, share_.ranks);
    return network_;
  }

  void spend(double seconds, double& spent) {
    compute_ += seconds;
    spent += seconds;
  }

  void wait(double until, double& waited) {
    waited += std::max(0.0, until - compute_);
    compute_ = std::max(compute_, until);
  }

  /// Between device and host memory, begun when `ready`. @return  when it is done
  double copy(double bytes, double ready) {
    const double seconds = bytes / (machine_.pcie_gbs * 1e9);
    copied_ = std::max(copied_, ready) + seconds;
    time_.copies += seconds;
    time_.copied += bytes;
    return copied_;
  }

  double weights(size_t part) const {
    const PartSize& p = work_.parts[part];
    return p.matrices * bytes_of(work_.settings.model.dtype) + 4 * p.vectors;
  }

  double teacher_weights(size_t part) const {
    const PartSize& p = work_.teacher_parts[part];
    return p.matrices * bytes_of(work_.settings.teacher.dtype) + 4 * p.vectors + p.packed;
  }

  /// Walks `parts` parts in order; each computes when it is there, while the next is fetched.
  template <class Bytes, class Compute>
  void fetched_ahead(size_t parts, const Bytes& bytes, const Compute& compute) {
    double ready = send(Collective::kAllGather, bytes(0));
    for (size_t i = 0; i < parts; ++i) {
      wait(ready, time_.exposed);
      if (i + 1 < parts)
        ready = send(Collective::kAllGather, bytes(i + 1));
      compute(i);
    }
  }

  void run_teacher() {
    if (!work_.teacher)
      return;
    const auto compute = [&](size_t i) { spend(seconds_ * teacher_[i], time_.teacher); };
    if (work_.settings.dist.teacher == "sharded" && share_.ranks > 1)
      fetched_ahead(
          teacher_.size(), [&](size_t i) { return teacher_weights(i); }, compute);
    else
      for (size_t i = 0; i < teacher_.size(); ++i)
        compute(i);
  }

  /// Bytes of the input of a block, which lies in host memory meanwhile; 0 for other parts.
  double input(size_t part) const {
    const run::Settings& s = work_.settings;
    const bool moves = on_device(work_) && s.memory.offload == "activations";
    return !moves || part == 0 || part + 1 == student_.size()
               ? 0
               : static_cast<double>(share_.rows * s.train.seq_len * work_.student.width) *
                     bytes_of(s.model.dtype);
  }

  /// An input has until the next block to be gone, and that long to come back.
  void forward(bool first) {
    double gone = 0;
    const auto compute = [&](size_t i) {
      if (const double bytes = input(i); bytes > 0) {
        wait(gone, time_.uncovered);
        gone = copy(bytes, compute_);
      }
      spend(seconds_ * student_[i], time_.student);
    };
    if (share_.ranks > 1 && (zero(3) || (zero(1) && first)))
      return fetched_ahead(
          student_.size(), [&](size_t i) { return weights(i); }, compute);
    for (size_t i = 0; i < student_.size(); ++i)
      compute(i);
  }

  /// A tied head is the embedding.
  double trained_share(size_t part) const {
    const bool is_head = part + 1 == student_.size();
    const PartSize& p = is_head && work_.student.tied ? work_.parts.front() : work_.parts[part];
    const double all = p.matrices + p.vectors;
    return all > 0 ? std::min(1.0, p.trained / all) : 0;
  }

  /// The gradient of what a part reads costs as much as its forward pass, and so does that of its
  /// weights.
  double backward_seconds(size_t part) const {
    const bool again = work_.settings.train.recompute && part > 0 && part + 1 < student_.size();
    return seconds_ * student_[part] * (1 + trained_share(part) + (again ? 1 : 0));
  }

  double gradients(size_t part) const {
    return work_.parts[part].trained * bytes_of(work_.settings.dist.reduce_dtype);
  }

  /// Sends what the buckets hold in whole ones, and lets them come down; all of it at the end.
  void reduce_buckets(double gradients, bool end) {
    bucket_ += gradients;
    const double narrow = bytes_of(work_.settings.dist.reduce_dtype) / 4;
    const double size = kMiB * work_.settings.dist.bucket_mib * narrow;  // bucket_mib is of fp32
    while (bucket_ >= size || (end && bucket_ > 0)) {
      const double bytes = std::min(bucket_, size);
      const double summed = share_.ranks > 1 ? send(Collective::kAllReduce, bytes) : compute_;
      if (offloads_optimizer(work_))
        copy(bytes / narrow, summed);
      bucket_ -= bytes;
    }
  }

  /// Until the sum that is under way is there, and its own rows in host memory.
  void settle() {
    wait(summed_, time_.exposed);
    if (comes_down_ > 0)
      wait(copy(std::exchange(comes_down_, 0), compute_), time_.uncovered);
  }

  void exchange(size_t part, bool last) {
    if (!(last || zero(2)))
      return;
    if (!zero(1))
      return reduce_buckets(gradients(part), /*end=*/part == 0);
    settle();  // one part's sum is under way at a time
    summed_ = send(Collective::kReduceScatter, gradients(part));
    if (offloads_optimizer(work_))
      comes_down_ = gradients(part) * own();
  }

  void backward(bool last) {
    const size_t parts = student_.size();
    double here = 0;  // the last block's input never left
    const auto compute = [&](size_t i) {
      const size_t part = parts - 1 - i;
      wait(std::exchange(here, 0), time_.uncovered);
      if (i > 0 && part > 0 && input(part - 1) > 0)
        here = copy(input(part - 1), compute_);
      spend(backward_seconds(part), time_.student);
      if (share_.ranks > 1 || offloads_optimizer(work_))
        exchange(part, last);
    };
    if (zero(3) && share_.ranks > 1)
      return fetched_ahead(
          parts, [&](size_t i) { return weights(parts - 1 - i); }, compute);
    for (size_t i = 0; i < parts; ++i)
      compute(i);
  }

  /// Weight, gradient and moments are read, three of these written; a quantizer reads master and
  /// gradient, writes the gradient, reads the master once more and writes the weight. On a device
  /// quantizers are in host memory: masters and gradients come down to them where they are not
  /// there, and gradients go up again; weights go up while the next is made.
  void update() {
    const PartSize all = sum_of(work_.parts);
    const double weight = bytes_of(work_.settings.model.dtype);
    const double quantized = std::min(all.quantized, all.trained);
    const bool beside = on_device(work_);
    const bool below = offloads_optimizer(work_);
    const double rate = machine_.memory_gbs * 1e9 / own();
    const double host = machine_.host_gbs * 1e9 / own();
    spend(28 * all.moved / (below ? host : rate), time_.optimizer);
    const double making = (16 + weight) * quantized / (beside ? host : rate);
    spend(making, time_.optimizer);
    if (!beside)
      return;
    if (!below)
      wait(copy(3 * 4 * quantized * own(), compute_), time_.uncovered);
    const double casting = below ? (4 + weight) * (all.trained - quantized) / host : 0;
    spend(casting, time_.optimizer);
    const double began = compute_ - making - casting;
    wait(copy(weight * (below ? all.trained : quantized) * own(), began), time_.uncovered);
  }

  const Workload& work_;
  const Share& share_;
  const Machine& machine_;
  std::vector<double> student_, teacher_;  // multiply-adds of a token by part
  double seconds_ = 0;                     // of one multiply-add of each token of a micro-batch
  double compute_ = 0;
  double network_ = 0;
  double bucket_ = 0;      // bytes of gradients that wait
  double summed_ = 0;      // zero: when the last part's sum is there
  double copied_ = 0;      // when the way between device and host memory is free again
  double comes_down_ = 0;  // zero: bytes of own rows, when they are summed
  StepTime time_;
};

}  // namespace

StepTime step_time(const Workload& work, const Share& share, const Machine& machine) {
  return Replay(work, share, machine).run();
}

}  // namespace sterna::plan
