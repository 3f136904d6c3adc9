// Ranks that are threads of this process, over real sockets.
#include "trainer/dist/group.h"

#include <iostream>
#include <sstream>
#include <thread>
#include <unistd.h>

#include <gtest/gtest.h>

#include "tests/support/port.h"
#include "tests/support/temp_folder.h"

namespace sterna::dist {
namespace {

using at::Tensor;
using namespace std::chrono_literals;

// c10d's recorder is one for all groups of a process and no map for several threads; ranks that are
// processes have one each.
const int kNoRecorder = setenv("TORCH_FR_BUFFER_SIZE", "0", 1);

/// What a rank of a test does.
struct Rank {
  World& world;
  Group& group;
  Talk& talk;
};

/// @return  rank 0's console
std::string on_ranks(int64_t ranks, const std::function<void(Rank)>& work, double timeout = 20) {
  const int port = tests::unused_port();
  std::vector<std::ostringstream> consoles(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int64_t rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      Launch launch;
      launch.rank = launch.local_rank = rank;
      launch.size = launch.local_size = ranks;
      launch.address = "127.0.0.1";
      launch.port = port;
      launch.launcher = "test";
      auto& console = consoles[static_cast<size_t>(rank)];
      Talk talk(rank, console, std::cerr);
      Group group(launch, talk, {[] { return false; }});
      World& world = group.join(timeout);
      work({world, group, talk});
      group.leave(0);
    });
  for (std::thread& thread : threads)
    thread.join();
  return consoles[0].str();
}

class Groups : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override {
    if (!has_gloo())
      GTEST_SKIP() << "built without Gloo's headers (libgloo-dev)";
  }
  /// 1 + 2 + ... + ranks
  static double sum_of_ranks() { return static_cast<double>(GetParam() * (GetParam() + 1)) / 2; }
};

TEST_P(Groups, SumsTensorsOfAnySizeAndDtypeInPlace) {
  on_ranks(GetParam(), [](const Rank& r) {
    const auto own = static_cast<double>(r.world.rank() + 1);
    for (const int64_t n : {1, 7, 100003}) {
      const Tensor a = at::full({n}, own, at::kFloat);
      const Tensor b = at::full({3, n}, 2 * own, at::kFloat);
      const Tensor c = at::full({n}, own, at::kBFloat16);
      const Tensor d = at::full({2}, own, at::kDouble);
      const Tensor columns = at::full({n, 2}, own, at::kFloat).t();
      r.world.all_reduce({a, b, c, at::empty({0}), d, columns})->wait();
      EXPECT_TRUE(a.eq(sum_of_ranks()).all().item<bool>());
      EXPECT_TRUE(b.eq(2 * sum_of_ranks()).all().item<bool>());
      EXPECT_TRUE(c.eq(sum_of_ranks()).all().item<bool>());
      EXPECT_TRUE(d.eq(sum_of_ranks()).all().item<bool>());
      EXPECT_TRUE(columns.eq(sum_of_ranks()).all().item<bool>());
    }
    r.world.all_reduce({})->wait();
  });
}

TEST_P(Groups, ScattersAndGathersByRank) {
  on_ranks(GetParam(), [](const Rank& r) {
    const int64_t size = r.world.size();
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      const Tensor in = at::arange(3 * size, at::kFloat).to(dtype);
      const Tensor before = in.clone();
      const Tensor out = at::zeros({3}, dtype);
      r.world.reduce_scatter(out, in)->wait();
      EXPECT_TRUE(out.equal(before.narrow(0, 3 * r.world.rank(), 3) * size)) << out;
      EXPECT_TRUE(in.equal(before)) << "the input of a sum is not its place";
      const Tensor all = at::zeros({3 * size}, dtype);
      r.world.all_gather(all, before.narrow(0, 3 * r.world.rank(), 3))->wait();
      EXPECT_TRUE(all.equal(before)) << all;
    }
  });
}

TEST_P(Groups, AddUpInMoreBitsWhatComesInBf16) {
  on_ranks(GetParam(), [](const Rank& r) {
    const int64_t size = r.world.size();
    const Tensor out = at::zeros({1}, at::kBFloat16);
    const Tensor in = at::full({size}, r.world.rank() == 0 ? 256 : 1, at::kBFloat16);
    r.world.reduce_scatter(out, in)->wait();
    EXPECT_EQ(out.item<float>(), size == 4 ? 260 : 256) << "one by one, 256 stays 256";
  });
}

TEST_P(Groups, BroadcastsFromAnyRank) {
  on_ranks(GetParam(), [](const Rank& r) {
    const int64_t root = r.world.size() - 1;
    const Tensor a = at::full({5}, r.world.rank(), at::kLong);
    const Tensor b = at::full({2, 3}, r.world.rank(), at::kBFloat16);
    const Tensor c = at::full({1}, r.world.rank(), at::kLong);
    r.world.broadcast({a, b, c}, root)->wait();
    EXPECT_TRUE(a.eq(root).all().item<bool>());
    EXPECT_TRUE(b.eq(root).all().item<bool>());
    EXPECT_TRUE(c.eq(root).all().item<bool>());
  });
}

TEST_P(Groups, GathersBytesOfAnyLength) {
  on_ranks(GetParam(), [](const Rank& r) {
    const auto text_of = [](int64_t rank) {
      return rank == 0 ? std::string() : std::string(static_cast<size_t>(rank) * 1001, 'a') + '\0';
    };
    const std::vector<std::string> all = r.world.gather_bytes(text_of(r.world.rank()));
    ASSERT_EQ(std::ssize(all), r.world.size());
    for (int64_t rank = 0; rank < r.world.size(); ++rank)
      EXPECT_EQ(all[static_cast<size_t>(rank)], text_of(rank));
    for (const std::string& each : r.world.gather_bytes(""))
      EXPECT_EQ(each, "");
  });
}

TEST_P(Groups, SumsAreTheSameBitsEveryTime) {
  std::vector<Tensor> sums;
  for (int run = 0; run < 2; ++run)
    on_ranks(GetParam(), [&](const Rank& r) {
      const Tensor values = at::sin(at::arange(10007, at::kFloat) * (r.world.rank() + 1.37));
      r.world.all_reduce({values})->wait();
      if (r.world.rank() == 0)
        sums.push_back(values);
    });
  EXPECT_TRUE(sums[0].equal(sums[1]));
}

TEST_P(Groups, WaitAtABarrierLongerThanACollectiveMayTake) {
  const auto start = std::chrono::steady_clock::now();
  on_ranks(
      GetParam(),
      [](const Rank& r) {
        // By what it writes: who does nothing for so long hangs.
        std::ofstream sink("/dev/null");
        const std::string much(1 << 20, 'a');
        if (r.world.rank() == 0)
          for (int i = 0; i < 55; ++i) {
            sink << much << std::flush;
            std::this_thread::sleep_for(100ms);
          }
        r.world.barrier();
      },
      /*timeout=*/4.0);
  EXPECT_GE(std::chrono::steady_clock::now() - start, 5500ms);
}

TEST_P(Groups, HandWarningsToTheConsoleOfRankZeroAndNothingElse) {
  tests::TempFolder folder;
  const std::string console = on_ranks(
      GetParam(),
      [&](const Rank& r) {
        r.talk.out() << "rank " << r.world.rank() << " says\nWARNING: hot" << std::endl;
        r.talk.keep_in(folder / ("rank-" + std::to_string(r.world.rank()) + ".log"));
        std::this_thread::sleep_for(1s);
      },
      /*timeout=*/5.0);
  EXPECT_EQ(console.find("rank 0 says\nWARNING: hot\n"), 0u) << console;
  EXPECT_EQ(console.find("rank 1 says"), std::string::npos) << console;
  for (int64_t rank = 1; rank < GetParam(); ++rank)
    EXPECT_NE(console.find("[rank " + std::to_string(rank) + "] WARNING: hot\n"), std::string::npos)
        << console;
  std::ifstream log(folder / "rank-1.log");
  const std::string kept{std::istreambuf_iterator<char>(log), {}};
  EXPECT_NE(kept.find("rank 1 of " + std::to_string(GetParam())), std::string::npos) << kept;
  EXPECT_NE(kept.find("rank 1 says"), std::string::npos) << kept;
}

TEST_P(Groups, OneRankThatIsAskedToStopStopsTheOthers) {
  on_ranks(GetParam(), [](const Rank& r) {
    std::atomic<bool> told = false;
    const bool asked = r.world.rank() == 1;
    r.group.pulse().stops().share({[asked] { return asked; }, [&told] { told = true; }});
    for (int i = 0; i < 200 && !told && !asked; ++i)
      std::this_thread::sleep_for(50ms);
    EXPECT_EQ(told, !asked);
    r.world.barrier();
    r.group.pulse().stops().share({});
    std::this_thread::sleep_for(300ms);
  });
}

INSTANTIATE_TEST_SUITE_P(OfTwoAndFour, Groups, testing::Values(2, 4));

TEST(GroupsOfRanks, HaveGroupsInsideThem) {
  on_ranks(4, [](const Rank& r) {
    const std::vector<int64_t> even{0, 2};
    const std::vector<int64_t> odd{1, 3};
    const auto none = r.world.subgroup(r.world.rank() % 2 == 0 ? odd : even);
    EXPECT_EQ(none, nullptr);
    const auto own = r.world.subgroup(r.world.rank() % 2 == 0 ? even : odd);
    ASSERT_NE(own, nullptr);
    EXPECT_EQ(own->size(), 2);
    EXPECT_EQ(own->rank(), r.world.rank() / 2);
    const Tensor value = at::full({3}, r.world.rank(), at::kLong);
    own->all_reduce({value})->wait();
    EXPECT_TRUE(value.eq(r.world.rank() % 2 == 0 ? 2 : 4).all().item<bool>()) << value;
  });
}

TEST(GroupsOfRanks, AreRefusedTensorsThatDoNotFit) {
  on_ranks(2, [](const Rank& r) {
    EXPECT_THROW(r.world.reduce_scatter(at::zeros({2}), at::zeros({5})), c10::Error);
    EXPECT_THROW(r.world.all_gather(at::zeros({5}), at::zeros({2})), c10::Error);
    EXPECT_THROW(r.world.broadcast({at::zeros({1})}, 2), c10::Error);
    EXPECT_THROW(r.world.subgroup({1, 0}), c10::Error);
  });
}

}  // namespace
}  // namespace sterna::dist
