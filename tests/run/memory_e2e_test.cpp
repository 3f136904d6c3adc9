// Memory that does not suffice: the kernel is told to refuse it.
#include <sys/resource.h>

#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

/// Private memory that may be written, in bytes; code and mapped files are not counted.
void limit_data(rlim_t bytes) {
  const rlimit limit{bytes, bytes};
  setrlimit(RLIMIT_DATA, &limit);
}

constexpr rlim_t kMiB = rlim_t{1} << 20;

class OutOfMemory : public Training {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "AddressSanitizer reserves terabytes, which no limit on memory grants";
#endif
    Training::SetUp();
  }

  /// Exit code of `sterna ...` under that limit.
  int limited(const std::vector<std::string>& arguments, rlim_t bytes) {
    Program program(arguments, folder_.path() / "output.txt", [bytes] { limit_data(bytes); });
    const int code = program.wait();
    output_ = program.output();
    return code;
  }
};

TEST_F(OutOfMemory, InTrainingNamesTheKnobsAndLowerOnesHelp) {
  // 4,096 rows of 200 tokens want some GB of activations.
  EXPECT_EQ(limited(arguments("big", {"train.batch=4096", "train.seq_len=200"}), 1024 * kMiB), 2)
      << output_;
  EXPECT_NE(output_.find("error: sterna train: out of memory. What helps, strongest first: "
                         "train.batch lower"),
            std::string::npos)
      << output_;
  EXPECT_NE(output_.find("tried to allocate"), std::string::npos) << output_;
  EXPECT_EQ(limited(arguments("small", {"train.steps=2"}), 1024 * kMiB), 0) << output_;
}

TEST_F(OutOfMemory, InAnotherVerbNamesWhatThatVerbCanChange) {
  std::vector<std::string> eval{"eval",
                                (folder_.path() / "model").string(),
                                "eval.text=" + (folder_.path() / "text.txt").string(),
                                "eval.window=200",
                                "eval.stride=1",
                                "eval.max_windows=4096",
                                "train.threads=1",
                                "eval.batch=4096"};
  EXPECT_EQ(limited(eval, 1024 * kMiB), 2) << output_;
  EXPECT_NE(output_.find("error: sterna eval: out of memory. eval.dtype=bf16 halves"),
            std::string::npos)
      << output_;
  eval.back() = "eval.batch=8";
  EXPECT_EQ(limited(eval, 1024 * kMiB), 0) << output_;
}

}  // namespace
}  // namespace sterna::tests
