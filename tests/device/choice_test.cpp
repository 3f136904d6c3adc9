// train.device and train.deterministic before anything runs: which device a process gets, and what
// is said where there is none.
#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "trainer/run/device.h"

namespace sterna::run {
namespace {

std::string refusal(const LocalRank& local, const DevicesFound& cuda) {
  try {
    choose_device("cuda", local, cuda);
  } catch (const recipes::UserError& error) {
    return error.what();
  }
  return "nothing was refused";
}

bool names(const std::string& text, const std::vector<std::string>& parts) {
  return std::all_of(parts.begin(), parts.end(), [&](const std::string& part) {
    return text.find(part) != std::string::npos;
  });
}

TEST(DeviceChoice, GivesEveryRankOfAHostAGpuOfItsOwn) {
  EXPECT_EQ(choose_device("cpu", {3, 4}, {}), at::Device(at::kCPU));
  for (int64_t rank = 0; rank < 4; ++rank)
    EXPECT_EQ(choose_device("cuda", {rank, 4}, {true, 4}), at::Device(at::kCUDA, rank));
}

TEST(DeviceChoice, SaysWhatIsMissingAndWhatToDo) {
  const std::string unbuilt = refusal({}, {false, 0});
  EXPECT_TRUE(names(unbuilt, {"train.device: \"cuda\"", "-DSTERNA_NCCL=ON", "train.device=cpu"}))
      << unbuilt;
  const std::string unseen = refusal({}, {true, 0});
  EXPECT_TRUE(names(unseen, {"sees none", "nvidia-smi", "CUDA_VISIBLE_DEVICES"})) << unseen;
  const std::string few = refusal({2, 4}, {true, 2});
  EXPECT_TRUE(names(few, {"expected 4", "found 2", "--gpus-per-node"})) << few;
}

/// A variable that is what it was again when this is gone.
class Set {
 public:
  Set(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name))
      before_ = before;
    value != nullptr ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Set() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Set(const Set&) = delete;
  Set& operator=(const Set&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

TEST(DeterministicRun, SetsWhatLibrariesReadAndWhatAtenObeysUntilItsEnd) {
  const Set cublas("CUBLAS_WORKSPACE_CONFIG", ":16:8");
  const Set algorithm("NCCL_ALGO", nullptr);
  const Set protocol("NCCL_PROTO", nullptr);
  {
    const Deterministic repeatable(true);
    EXPECT_STREQ(std::getenv("CUBLAS_WORKSPACE_CONFIG"), ":16:8") << "as good as ours";
    EXPECT_STREQ(std::getenv("NCCL_ALGO"), "Ring");
    EXPECT_STREQ(std::getenv("NCCL_PROTO"), "Simple");
    EXPECT_TRUE(at::globalContext().deterministicAlgorithms());
    EXPECT_FALSE(at::globalContext().userEnabledMemEfficientSDP());
  }
  EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
  EXPECT_TRUE(at::globalContext().userEnabledMemEfficientSDP());
}

TEST(DeterministicRun, LeavesTheUsersVariablesAndRefusesThoseThatContradict) {
  const Set algorithm("NCCL_ALGO", "Tree");
  try {
    set_deterministic_environment();
    FAIL() << "nothing was refused";
  } catch (const recipes::UserError& error) {
    EXPECT_TRUE(names(error.what(), {"train.deterministic", "NCCL_ALGO=Ring", "NCCL_ALGO=Tree"}))
        << error.what();
  }
  EXPECT_STREQ(std::getenv("NCCL_ALGO"), "Tree");
  const Deterministic none(false);
  EXPECT_FALSE(at::globalContext().deterministicAlgorithms());
}

}  // namespace
}  // namespace sterna::run
