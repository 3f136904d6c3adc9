#include "trainer/plan/step_time.h"

#include <algorithm>
#include <cmath>

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
    wait(network_);
    update();
    time_.exposed = std::max(0.0, compute_ - time_.computing());
    return time_;
  }

 private:
  bool zero(int64_t stage) const {
    const std::string& strategy = work_.settings.dist.strategy;
    return strategy.starts_with("zero") && strategy.back() - '0' >= stage;
  }

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

  void wait(double until) { compute_ = std::max(compute_, until); }

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
      wait(ready);
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

  void forward(bool first) {
    const auto compute = [&](size_t i) { spend(seconds_ * student_[i], time_.student); };
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

  /// Sends what the buckets hold in whole ones; all of it at the end.
  void reduce_buckets(double gradients, bool end) {
    bucket_ += gradients;
    const double size = kMiB * work_.settings.dist.bucket_mib *
                        bytes_of(work_.settings.dist.reduce_dtype) / 4;  // bucket_mib is of fp32
    while (bucket_ >= size || (end && bucket_ > 0)) {
      send(Collective::kAllReduce, std::min(bucket_, size));
      bucket_ -= std::min(bucket_, size);
    }
  }

  void backward(bool last) {
    const size_t parts = student_.size();
    const auto compute = [&](size_t i) {
      const size_t part = parts - 1 - i;
      spend(backward_seconds(part), time_.student);
      if (share_.ranks == 1 || !(last || zero(2)))
        return;
      if (!zero(1))
        return reduce_buckets(gradients(part), /*end=*/part == 0);
      wait(summed_);  // one part's sum is under way at a time
      summed_ = send(Collective::kReduceScatter, gradients(part));
    };
    if (zero(3) && share_.ranks > 1)
      return fetched_ahead(
          parts, [&](size_t i) { return weights(parts - 1 - i); }, compute);
    for (size_t i = 0; i < parts; ++i)
      compute(i);
  }

  /// Weight, gradient and moments are read, three of these written; a quantizer reads master and
  /// gradient, writes the gradient, reads the master once more and writes the weight.
  void update() {
    const PartSize all = sum_of(work_.parts);
    const double each = zero(1) ? static_cast<double>(share_.ranks) : 1.0;
    const double bytes =
        28 * all.moved + (16 + bytes_of(work_.settings.model.dtype)) * all.quantized;
    spend(bytes / each / (machine_.memory_gbs * 1e9), time_.optimizer);
  }

  const Workload& work_;
  const Share& share_;
  const Machine& machine_;
  std::vector<double> student_, teacher_;  // multiply-adds of a token by part
  double seconds_ = 0;                     // of one multiply-add of each token of a micro-batch
  double compute_ = 0;
  double network_ = 0;
  double bucket_ = 0;  // bytes of gradients that wait
  double summed_ = 0;  // zero: when the last part's sum is there
  StepTime time_;
};

}  // namespace

StepTime step_time(const Workload& work, const Share& share, const Machine& machine) {
  return Replay(work, share, machine).run();
}

}  // namespace sterna::plan
