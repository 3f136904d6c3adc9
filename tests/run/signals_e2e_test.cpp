#include "tests/run/train_fixture.h"

namespace sterna::tests {
namespace {

TEST_F(Training, ASecondSignalStopsAtOnceAndSavesNothing) {
  Program program(arguments("stopped", {"train.steps=100000", "train.checkpoint_every=0"}),
                  folder_.path() / "output.txt");
  while (program.output().find("step 1/") == std::string::npos)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  // Two kinds, because of one kind the kernel would keep one; it hands them over in either order.
  program.signal(SIGINT);
  program.signal(SIGTERM);
  const int code = program.wait();
  EXPECT_TRUE(code == 128 + SIGTERM || code == 128 + SIGINT) << code << program.output();
  EXPECT_TRUE(checkpoints("stopped").empty()) << program.output();
}

TEST_F(Training, HelpNamesTheExitCodesOfSignals) {
  Program program({"train", "--help"}, folder_.path() / "output.txt");
  EXPECT_EQ(program.wait(), 0);
  for (const char* code : {"exits with 3", "130 (SIGINT)", "143 (SIGTERM)"})
    EXPECT_NE(program.output().find(code), std::string::npos) << code << "\n" << program.output();
}

}  // namespace
}  // namespace sterna::tests
