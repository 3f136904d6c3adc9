// Checkpoints that several ranks write, each what it holds, and that any other number reads; ranks
// are threads here.
#include "trainer/run/checkpoint.h"

#include <set>

#include <gtest/gtest.h>

#include "tests/io/support.h"
#include "tests/run/rank_threads.h"
#include "tests/run/student_fixture.h"
#include "tests/support/small_disk.h"
#include "trainer/io/safetensors.h"
#include "trainer/run/saver.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

constexpr const char* kKinds[] = {"master", "quant", "buffer", "moment1", "moment2", "ema"};

/// Learned scales for each row in the blocks, but for one kind of matrix with a table of levels;
/// one scale for all of the embedding.
std::unique_ptr<quant::Quantizer> mixed(const model::Parameter& parameter) {
  if (!parameter.matrix)
    return nullptr;
  if (parameter.layer < 0)
    return quant::quantizers().make_default("absmean");
  return quant::quantizers().make_default(
      parameter.name.ends_with("up_proj.weight") ? "dkm" : "affine_learned");
}

model::Manifest header(int64_t step) {
  model::Manifest manifest;
  manifest.stage = "train";
  manifest.step = step;
  manifest.hashes = {{"tokenizer", "t"}, {"data", "d"}};
  for (const char* key : {"blocks", "skipped", "bad_in_row", "best", "best_step"})
    manifest.state[key] = 0;
  manifest.state["applied"] = 9;
  return manifest;
}

bool needs_whole(const std::string& name) {
  return name.find("up_proj") != std::string::npos || name.find("embed") != std::string::npos;
}

/// Leaves a rank what it would hold: rows of each parameter, or all where a quantizer needs all.
void cut(Student& student, int64_t rank, int64_t ranks) {
  int64_t owner = 0;
  for (Slot& slot : student.slots()) {
    const int64_t total = slot.master.size(0);
    const int64_t chunk = (total + ranks - 1) / ranks;
    slot.rows = {std::min(rank * chunk, total), std::min((rank + 1) * chunk, total), total};
    if (needs_whole(slot.name))
      slot.rows = owner++ % ranks == rank ? Rows{0, total, total} : Rows{0, 0, total};
    if (slot.rows.count() == 0)
      slot.trains_master = slot.trains_quantizer = false;
    slot.master = slot.master.narrow(0, slot.rows.begin, slot.rows.count()).clone();
    if (slot.quantizer && slot.rows.count() > 0)
      slot.quantizer->init(slot.master);
  }
}

/// The state of a run on one rank, or on one of several.
struct Side {
  Side(const fs::path& model, dist::World& world, bool shards = true)
      : student(student_of(model, {}, mixed)), optimizer(AdamConfig{}, 1.0) {
    if (shards && world.size() > 1)
      cut(*student, world.rank(), world.size());
    optimizer.set_applied(9);
  }

  /// Numbers that no two places share.
  void fill(uint64_t seed) {
    at::manual_seed(seed);
    const at::NoGradGuard no_grad;
    for (const auto& [name, tensor] : trained_tensors(*student)) {
      Tensor(tensor).add_(at::rand_like(tensor), 0.01);
      const int64_t applied = name.find("q_proj") == std::string::npos ? 9 : 4;
      optimizer.moments()[name] = {at::randn_like(tensor), at::rand_like(tensor), applied};
    }
    touch(student->all());
  }

  void restore(const fs::path& checkpoint) {
    const model::Manifest manifest = model::read_manifest(checkpoint);
    restore_checkpoint(checkpoint, manifest, *student, optimizer);
    const model::CheckpointTensors tensors(checkpoint, manifest);
    average = std::make_unique<Average>(*student, 0.5);
    average->restore(read_held(tensors, "ema", *student), "it");
  }

  model::Manifest manifest(int64_t step) const {
    model::Manifest result = header(step);
    for (const auto& [name, moments] : optimizer.moments())
      if (moments.applied != 9)
        result.state[kAppliedTo + name] = static_cast<double>(moments.applied);
    return result;
  }

  std::vector<Part> parts() { return parts_of({*student, optimizer, average.get(), nullptr}); }

  std::unique_ptr<Student> student;
  Optimizer optimizer;
  std::unique_ptr<Average> average;
};

class ShardedCheckpoint : public testing::Test {
 protected:
  void SetUp() override {
    tests::write_tiny_model(folder_ / "model", small_shape(/*tied=*/true));
    const auto single = dist::make_single();
    Side side(folder_ / "model", *single);
    side.fill(1);
    side.average = std::make_unique<Average>(*side.student, 0.5);
    side.fill(2);
    write(side, *single, "first");
  }

  fs::path at(const std::string& run, int64_t step = 1) const {
    return folder_ / run / "checkpoints" / ("step-" + std::to_string(step));
  }

  /// From another run's checkpoint, on so many ranks.
  Strings copy(const std::string& from, const std::string& to, int64_t ranks, bool shards = true) {
    return on_ranks(ranks, [&](dist::World& world) {
      Side side(folder_ / "model", world, shards);
      side.restore(at(from));
      write(side, world, to);
    });
  }

  void write(Side& side, dist::World& world, const std::string& run, int64_t step = 1) const {
    Saver saver(folder_ / run, world);
    saver.begin(side.manifest(step), side.parts(), {10, ""}, /*copy=*/false);
    EXPECT_EQ(saver.carry_on(/*wait=*/true), "step-" + std::to_string(step));
  }

  void expect_equal(const std::string& a, const std::string& b) const {
    const model::Manifest one = model::read_manifest(at(a));
    const model::Manifest other = model::read_manifest(at(b));
    EXPECT_NO_THROW(model::verify_checkpoint(at(b), other));
    EXPECT_EQ(one.state, other.state);
    EXPECT_EQ(one.tensors.size(), other.tensors.size());
    for (const char* kind : kKinds) {
      const auto expected = model::read_kind(at(a), one, kind);
      const auto found = model::read_kind(at(b), other, kind);
      EXPECT_FALSE(expected.empty()) << kind;
      for (const auto& [name, tensor] : expected) {
        ASSERT_TRUE(found.contains(name)) << kind << " " << name;
        EXPECT_TRUE(at::equal(tensor, found.at(name))) << b << ": " << kind << " " << name;
      }
    }
  }

  std::set<std::string> files(const std::string& run) const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(at(run)))
      names.insert(entry.path().filename());
    return names;
  }

  tests::TempFolder folder_;
};

TEST_F(ShardedCheckpoint, HasTheSameBitsWhateverRanksWroteAndReadIt) {
  EXPECT_EQ(copy("first", "of4", 4), Strings(4));
  EXPECT_EQ(copy("of4", "of2", 2), Strings(2));
  EXPECT_EQ(copy("of2", "of3", 3), Strings(3));
  EXPECT_EQ(copy("of3", "of1", 1), Strings(1));
  EXPECT_EQ(copy("first", "straight2", 2), Strings(2));
  for (const char* run : {"of4", "of2", "of3", "of1", "straight2"})
    expect_equal("first", run);
  EXPECT_TRUE(files("first").contains("master.safetensors"));
  EXPECT_EQ(files("of1"), files("first"));
  EXPECT_TRUE(files("of4").contains("moment1-00003-of-00004.safetensors"));
  for (const std::string& file : files("of1"))
    EXPECT_TRUE(file == "manifest.json" ||
                tests::read_file(at("of1") / file) == tests::read_file(at("first") / file))
        << file;
}

TEST_F(ShardedCheckpoint, HoldsOfEachRankItsRowsAlone) {
  ASSERT_EQ(copy("first", "of2", 2), Strings(2));
  const auto second = io::open_safetensors(at("of2") / "master-00002-of-00002.safetensors");
  const auto whole = io::open_safetensors(at("first") / "master.safetensors");
  int64_t cut_in_two = 0;
  for (const io::TensorView& view : second->tensors()) {
    const int64_t rows = whole->at(view.name).shape[0];
    if (needs_whole(view.name))
      continue;
    EXPECT_EQ(view.shape[0], rows / 2) << view.name;
    ++cut_in_two;
  }
  EXPECT_GT(cut_in_two, 10);
}

TEST_F(ShardedCheckpoint, OfRanksThatAllHoldEverythingIsWrittenOnceAndByAllOfThem) {
  ASSERT_EQ(copy("first", "ddp", 3, /*shards=*/false), Strings(3));
  expect_equal("first", "ddp");
  uint64_t least = UINT64_MAX;
  uint64_t all = 0;
  for (const char* number : {"1", "2", "3"}) {
    uint64_t bytes = 0;
    for (const char* kind : kKinds)
      if (const fs::path file =
              at("ddp") / (std::string(kind) + "-0000" + number + "-of-00003.safetensors");
          fs::exists(file))
        bytes += fs::file_size(file);
    least = std::min(least, bytes);
    all += bytes;
  }
  EXPECT_GT(least, all / 4) << "one rank wrote much less than its third";
}

TEST_F(ShardedCheckpoint, WhereRowsAreMissingOrDoubleNobodyWritesAnything) {
  const auto with = [&](const std::function<void(std::vector<Part>&)>& change, int64_t rank = 1) {
    return on_ranks(2, [&](dist::World& world) {
      Side side(folder_ / "model", world);
      side.restore(at("first"));
      std::vector<Part> parts = side.parts();
      if (world.rank() == rank)
        change(parts);
      Saver(folder_ / "bad", world).begin(side.manifest(1), std::move(parts), {}, false);
    });
  };
  const auto expect_error = [&](const Strings& errors, const std::string& text) {
    for (const std::string& error : errors)
      EXPECT_HAS(error, text);
    EXPECT_FALSE(fs::exists(folder_ / "bad/checkpoints"));
  };
  expect_error(with([](auto& parts) { parts.erase(parts.begin()); }),
               "no rank holds the rows from");
  expect_error(with([](auto& parts) { --parts[0].rows.begin; }), "no rank holds the rows from");
  expect_error(with([](auto& parts) {
                 parts[0].rows = {0, parts[0].rows.end, parts[0].rows.total};
               }),
               "hold rows that overlap");
  const auto hold_all = [](auto& parts) {
    const auto norm = std::find_if(parts.begin(), parts.end(), [](const Part& part) {
      return part.name == "model.norm.weight";
    });
    norm->rows.end = norm->rows.total;
  };
  expect_error(with(hold_all, /*rank=*/0), "hold rows that overlap");
}

TEST_F(ShardedCheckpoint, ThatIsTornIsNamedWithRankAndTensorAndTheOneBeforeIsFound) {
  const auto two_steps = [&](const std::string& run) {
    ASSERT_EQ(on_ranks(4,
                       [&](dist::World& world) {
                         Side side(folder_ / "model", world);
                         side.restore(at("first"));
                         write(side, world, run, 1);
                         write(side, world, run, 2);
                       }),
              Strings(4));
  };
  const auto torn = [&](const std::string& run) {
    Strings messages;
    EXPECT_EQ(model::newest_checkpoint(folder_ / run, messages), at(run, 1));
    EXPECT_EQ(messages.size(), 1u);
    return messages.empty() ? "" : messages[0];
  };
  two_steps("missing");
  const std::string shard = "moment1-00003-of-00004.safetensors";
  fs::remove(at("missing", 2) / shard);
  const std::string missing = torn("missing");
  EXPECT_HAS(missing, shard + ": missing");
  EXPECT_HAS(missing, "rank 2 of 4 wrote it: rows ");
  EXPECT_HAS(missing, " of moment1 model.");
  two_steps("damaged");
  std::string bytes = tests::read_file(at("damaged", 2) / shard);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  tests::write_file(at("damaged", 2) / shard, bytes);
  EXPECT_HAS(torn("damaged"), shard + ": damaged: SHA-256 is ");
  EXPECT_HAS(torn("damaged"), "rank 2 of 4 wrote it: rows ");
  two_steps("cut short");
  bytes.resize(bytes.size() / 2);
  tests::write_file(at("cut short", 2) / shard, bytes);
  EXPECT_HAS(torn("cut short"), shard + ": damaged: SHA-256 is ");
}

TEST_F(ShardedCheckpoint, ThatOneRankCannotWriteFailsOnAllAndLeavesTheOneBefore) {
  const Strings errors = on_ranks(3, [&](dist::World& world) {
    Side side(folder_ / "model", world);
    side.restore(at("first"));
    write(side, world, "run", 1);
    // A disk of its own under the same name, as on a machine that does not share it.
    const bool apart = world.rank() == 2;
    Saver saver(folder_ / (apart ? "elsewhere" : "run"), world);
    saver.begin(side.manifest(2), side.parts(), {10, ""}, /*copy=*/true);
    saver.carry_on(/*wait=*/true);
  });
  EXPECT_HAS(errors[0], "rank 2: ");
  EXPECT_HAS(errors[1], "rank 2: ");
  for (const std::string& error : errors)
    EXPECT_HAS(error, "run.dir has to be on a disk that all machines of the run share");
  Strings none;
  EXPECT_EQ(model::newest_checkpoint(folder_ / "run", none), at("run", 1));
  EXPECT_EQ(none, Strings());
  for (const auto& entry : fs::directory_iterator(folder_ / "run/checkpoints"))
    EXPECT_EQ(entry.path().filename(), "step-1");
}

TEST_F(ShardedCheckpoint, OnAFullDiskFailsOnAllRanksAndLeavesTheOneBefore) {
  const tests::SmallDisk disk(16 << 10);
  STERNA_REQUIRE_DISK(disk);
  const auto save = [&](int64_t step) {
    return on_ranks(2, [&](dist::World& world) {
      Side side(folder_ / "model", world);
      side.restore(at("first"));
      Saver saver(disk.path(), world);
      saver.begin(side.manifest(step), side.parts(), {10, ""}, /*copy=*/true);
      saver.carry_on(/*wait=*/true);
    });
  };
  ASSERT_EQ(save(1), Strings(2));
  uint64_t used = 0;
  for (const auto& entry : fs::recursive_directory_iterator(disk.path()))
    used += entry.is_regular_file() ? entry.file_size() : 0;
  ASSERT_TRUE(disk.resize(static_cast<int64_t>(used * 3 / 2) >> 10));
  for (const std::string& error : save(2))
    EXPECT_HAS(error, "No space left on device");
  Strings none;
  EXPECT_EQ(model::newest_checkpoint(disk.path(), none).filename(), "step-1");
  EXPECT_EQ(none, Strings());
  for (const auto& entry : fs::directory_iterator(disk.path() / "checkpoints"))
    EXPECT_EQ(entry.path().filename(), "step-1") << "it takes room that is needed";
}

TEST_F(ShardedCheckpoint, WrittenBehindIsThatOfTheMomentItWasBegun) {
  for (const int64_t ranks : {1, 2}) {
    const std::string run = "behind" + std::to_string(ranks);
    const Strings errors = on_ranks(ranks, [&](dist::World& world) {
      Side side(folder_ / "model", world);
      side.restore(at("first"));
      Saver saver(folder_ / run, world);
      saver.begin(side.manifest(1), side.parts(), {10, ""}, /*copy=*/true);
      // Training goes on.
      side.fill(3);
      side.average->exchange();
      for (Slot& slot : side.student->slots())
        slot.master.zero_();
      std::string name;
      while (name.empty())
        name = saver.carry_on(/*wait=*/false);
      EXPECT_EQ(name, "step-1");
      EXPECT_EQ(saver.carry_on(/*wait=*/true), "") << "there is nothing more under way";
    });
    EXPECT_EQ(errors, Strings(ranks));
    expect_equal("first", run);
  }
}

TEST_F(ShardedCheckpoint, ThatIsGivenUpLeavesNothing) {
  const auto world = dist::make_single();
  Side side(folder_ / "model", *world);
  side.restore(at("first"));
  std::make_unique<Saver>(folder_ / "run", *world)
      ->begin(side.manifest(1), side.parts(), {10, ""}, /*copy=*/true);
  EXPECT_TRUE(fs::is_empty(folder_ / "run/checkpoints"));
}

TEST_F(ShardedCheckpoint, OfAnotherModelIsRefusedOnEveryRank) {
  const auto errors_of = [&](const std::function<void(model::Manifest&)>& change) {
    return on_ranks(2, [&](dist::World& world) {
      Side side(folder_ / "model", world);
      model::Manifest manifest = model::read_manifest(at("first"));
      change(manifest);
      restore_checkpoint(at("first"), manifest, *side.student, side.optimizer);
    });
  };
  const auto find = [](model::Manifest& manifest, const char* kind) {
    return std::find_if(manifest.tensors.begin(), manifest.tensors.end(), [&](const auto& tensor) {
      return tensor.kind == kind;
    });
  };
  for (const std::string& error :
       errors_of([&](auto& manifest) { ++find(manifest, "master")->shape[0]; }))
    EXPECT_HAS(error, "has another shape: was the model changed since?");
  for (const std::string& error :
       errors_of([&](auto& manifest) { manifest.tensors.erase(find(manifest, "quant")); }))
    EXPECT_HAS(error, "is absent, though the recipe's quantizer has it");
}

}  // namespace
}  // namespace sterna::run
