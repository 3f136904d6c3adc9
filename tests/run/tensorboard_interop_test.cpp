// The event files of a run that fell back to an older checkpoint, as the tensorboard package reads
// them.
#include "tests/io/support.h"
#include "tests/run/train_fixture.h"
#include "tests/support/peers.h"

namespace sterna::tests {
namespace {

class TensorboardPackage : public Peers {};

TEST_F(TensorboardPackage, ReadsTheNumbersOfTheLog) {
  write_tiny_model(folder_ / "model");
  write_text_file(folder_ / "text.txt", tiny_text(300));
  for (const char* steps : {"9", "12"}) {
    std::vector<std::string> arguments = train_arguments(folder_.path(), "r");
    arguments.push_back(std::string("train.steps=") + steps);
    if (std::string(steps) == "12") {
      // Steps 6 to 9 are done again.
      std::filesystem::remove(folder_ / "runs/r/checkpoints/step-9/manifest.json");
      arguments.push_back("--resume");
    }
    Program program(arguments, folder_ / "train.txt");
    ASSERT_EQ(program.wait(), 0) << program.output();
  }
  ASSERT_NO_FATAL_FAILURE(python("scripts/peers/check_tensorboard.py", {path("runs/r")}));
  // loss, lr and grad_norm of twelve steps
  EXPECT_HAS(output_, "2 files, 0 steps twice");
  EXPECT_HAS(output_, "log.jsonl: 36 values compared, 0 differ");
  EXPECT_HAS(output_, "loss/kl: 12 values, steps 1 to 12");
}

}  // namespace
}  // namespace sterna::tests
