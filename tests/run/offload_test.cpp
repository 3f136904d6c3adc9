// Inputs of blocks in host memory: the same bits, in the right order, in no more room.
#include "trainer/run/offload.h"

#include <list>

#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include "tests/run/spread_runs.h"
#include "trainer/run/tape.h"

namespace sterna::run {
namespace {

constexpr int64_t kBlocks = 5;

tests::TinyModel five_blocks() {
  tests::TinyModel shape = small_shape();
  shape.layers = kBlocks;
  return shape;
}

/// Copies as late as it may, so that who does not wait for a copy computes with what was there
/// before; notes the order, and how many of the tensors that it saw on the device are alive.
class LateCopier final : public Copier {
 public:
  /// @param most  of them that may be
  explicit LateCopier(std::vector<std::string>& events, int64_t most = 2)
      : events_(events), most_(most) {}

  void start(const Tensor& to, const Tensor& from) override {
    EXPECT_FALSE(waiting_.first.defined()) << "one copy at a time";
    const bool out = host_.empty() || std::none_of(host_.begin(), host_.end(), [&](void* each) {
                       return each == from.storage().mutable_data();
                     });
    if (out)
      host_.insert(to.storage().mutable_data());
    events_.emplace_back(out ? "out" : "in");
    seen_.emplace_back((out ? from : to).storage().getWeakStorageImpl());
    waiting_ = {to, from};
    EXPECT_LE(alive(), most_) << "inputs on the device";
  }

  void finish() override {
    if (waiting_.first.defined())
      waiting_.first.copy_(waiting_.second);
    waiting_ = {};
  }

  void wait() override { finish(); }

  size_t buffers() const { return host_.size(); }

 private:
  int64_t alive() const {
    std::set<const void*> all;
    for (const auto& each : seen_)
      if (const auto storage = each.lock())
        all.insert(storage.get());
    return std::ssize(all);
  }

  std::vector<std::string>& events_;
  int64_t most_;
  std::set<void*> host_;
  std::vector<c10::weak_intrusive_ptr<c10::StorageImpl>> seen_;
  std::pair<Tensor, Tensor> waiting_;
};

/// Notes when a part of the decoder computes.
class NotingGate final : public model::PartGate {
 public:
  explicit NotingGate(std::vector<std::string>& events) : events_(events) {}
  void enter(int64_t part) override { events_.push_back("run " + std::to_string(part)); }
  void leave(int64_t) override {}

 private:
  std::vector<std::string>& events_;
};

class OffloadedTape : public testing::Test {
 protected:
  void SetUp() override { tests::write_tiny_model(folder_.path(), five_blocks()); }

  static Tensor tokens(int64_t rows) {
    return at::arange(rows * 9, at::kLong).reshape({rows, 9}).mul(7).remainder(257);
  }
  static Tensor from_behind(int64_t rows) {
    return at::randn({rows, 9, 64}, at::detail::createCPUGenerator(3));
  }

  Values gradients(Student& student, Tape& tape, int64_t rows = 2) const {
    zero_grad(student.all());
    tape.forward(Inputs(tokens(rows)));
    tape.backward(from_behind(rows));
    Values all;
    for (const Slot& slot : student.slots())
      if (slot.grad->defined())
        all[slot.name] = slot.grad->clone();
    return all;
  }

  static void expect_same(const Values& found, const Values& wanted) {
    ASSERT_EQ(found.size(), wanted.size());
    for (const auto& [name, each] : wanted)
      EXPECT_TRUE(at::equal(found.at(name), each)) << name;
  }

  const tests::TempFolder folder_;
  std::vector<std::string> events_;
};

TEST_F(OffloadedTape, FetchesEachInputWhileTheBlockBehindItComputesAndHoldsTwo) {
  const auto student = student_of(folder_.path(), {}, none);
  Tape in_place(*student, /*recompute=*/true);
  const Values wanted = gradients(*student, in_place);
  auto copier = std::make_unique<LateCopier>(events_);
  const LateCopier& noted = *copier;
  Tape tape(*student, true, std::make_unique<Offload>(std::move(copier)));
  student->decoder().set_gate(std::make_shared<NotingGate>(events_));
  expect_same(gradients(*student, tape), wanted);
  // The last block's input has not left when it is wanted again.
  const std::vector<std::string> order{"run 0", "out", "run 1", "out",   "run 2", "out",
                                       "run 3", "out", "run 4", "out",   "run 5", "run 6",
                                       "run 6", "in",  "run 5", "in",    "run 4", "in",
                                       "run 3", "in",  "run 2", "run 1", "run 0"};
  EXPECT_EQ(events_, order);
  for (int i = 0; i < 3; ++i)
    expect_same(gradients(*student, tape), wanted);
  EXPECT_EQ(noted.buffers(), static_cast<size_t>(kBlocks)) << "the first ones are used again";
}

TEST_F(OffloadedTape, KeepsItsBuffersForShorterMicroBatches) {
  const auto student = student_of(folder_.path(), {}, none);
  auto made = std::make_unique<Offload>();
  const Offload& offload = *made;
  Tape tape(*student, true, std::move(made));
  Tape in_place(*student, true);
  const auto bytes = [](int64_t rows) { return kBlocks * rows * 9 * 64 * 4; };
  for (const auto& [rows, held] : {std::pair{2, 2}, {3, 3}, {1, 3}, {3, 3}, {2, 3}}) {
    expect_same(gradients(*student, tape, rows), gradients(*student, in_place, rows));
    EXPECT_EQ(offload.host_bytes(), bytes(held)) << rows << " rows";
  }
}

TEST_F(OffloadedTape, LeavesAloneWhatBackwardNeverReaches) {
  Freezing freezing;
  freezing.patterns = {"model.embed_tokens", "model.layers.0.*", "model.layers.1.*", "lm_head"};
  const auto student = student_of(folder_.path(), freezing, none);
  Tape in_place(*student, true);
  Tape tape(*student, true, std::make_unique<Offload>(std::make_unique<LateCopier>(events_)));
  expect_same(gradients(*student, tape), gradients(*student, in_place));
  EXPECT_EQ(events_, (std::vector<std::string>{"out", "out", "out", "in", "in"}));
}

TEST_F(OffloadedTape, BeginsAnewBehindAWayThereWithoutAWayBack) {
  const auto student = student_of(folder_.path(), {}, none);
  Tape in_place(*student, true);
  const Values wanted = gradients(*student, in_place);
  Tape tape(*student, true, std::make_unique<Offload>(std::make_unique<LateCopier>(events_)));
  tape.forward(Inputs(tokens(3)));
  expect_same(gradients(*student, tape), wanted);
}

TEST_F(OffloadedTape, MustRunBlocksAgain) {
  const auto student = student_of(folder_.path(), {}, none);
  EXPECT_THROW(Tape(*student, /*recompute=*/false, std::make_unique<Offload>()), c10::Error);
  Offload empty;
  EXPECT_THROW(empty.take(0), c10::Error);
}

/// What `kd.hidden` compares lives on beside the inputs.
constexpr int64_t kAnyNumber = 1 << 20;

/// Every tensor and loss of a run.
struct Bits {
  std::vector<double> losses;
  Values masters;
};

Bits bits_of(const std::filesystem::path& folder, Spread spread, bool offloads, const char* kd) {
  spread.recompute = true;
  spread.offloads = offloads;
  Meeting meeting(spread.ranks);
  std::mutex mutex;
  Bits bits;
  std::list<std::vector<std::string>> events;  // of each rank
  spread.copier = [&] {
    const std::scoped_lock lock(mutex);
    return std::make_unique<LateCopier>(events.emplace_back(), kAnyNumber);
  };
  on_ranks(meeting, [&](MeetingWorld& world) {
    SpreadRank rank(folder, world, spread, ternary_in_blocks, kd);
    std::vector<double> losses;
    for (int64_t step = 0; step < 3; ++step)
      losses.push_back(rank.run(step).loss);
    const std::scoped_lock lock(mutex);
    bits.losses = losses;
    for (const Slot& slot : rank.student->slots())
      put_rows(bits.masters, slot.name, slot.master, slot);
  });
  EXPECT_EQ(std::ssize(events), offloads ? spread.ranks : 0);
  for (const auto& each : events)
    EXPECT_EQ(std::ssize(each), 3 * spread.accumulate * (2 * kBlocks - 1)) << "copies of 3 steps";
  return bits;
}

Spread in_bf16(Spread spread) {
  spread.dtype = at::kBFloat16;
  return spread;
}

class OffloadedRuns : public testing::TestWithParam<Spread> {};

TEST_P(OffloadedRuns, HaveTheSameLossesAndWeightsToTheBit) {
  const tests::TempFolder folder;
  tests::write_tiny_model(folder.path(), five_blocks());
  for (const char* kd : {"loss = \"tsld\"", "loss = \"kl\"\nhidden = [{ match = \"*\" }]"}) {
    const Bits wanted = bits_of(folder.path(), GetParam(), false, kd);
    const Bits found = bits_of(folder.path(), GetParam(), true, kd);
    EXPECT_EQ(found.losses, wanted.losses) << kd;
    EXPECT_NE(wanted.losses.front(), wanted.losses.back());
    ASSERT_EQ(found.masters.size(), wanted.masters.size());
    for (const auto& [name, each] : wanted.masters)
      EXPECT_TRUE(at::equal(found.masters.at(name), each)) << name << ", " << kd;
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks,
                         OffloadedRuns,
                         testing::Values(Spread{"ddp", 1, 2},
                                         Spread{"ddp", 2, 2},
                                         Spread{"zero3", 2, 2, true},
                                         in_bf16({"zero2", 2, 2})),
                         spread_name);

}  // namespace
}  // namespace sterna::run
