#include <sstream>

#include <gtest/gtest.h>

#include "trainer/run/log.h"

namespace sterna::run {
namespace {

TEST(Progress, InAPipeALineComesEverySoManyStepsAndAtBothEnds) {
  std::ostringstream out;
  Progress progress(out, /*columns=*/0);
  progress.start("step", 0, 7, 3);
  for (int64_t step = 1; step <= 7; ++step)
    progress.step(step, "loss " + std::to_string(step));
  EXPECT_EQ(out.str(),
            "step 1/7  loss 1  eta 0:00\n"
            "step 3/7  loss 3  eta 0:00\n"
            "step 6/7  loss 6  eta 0:00\n"
            "step 7/7  loss 7  eta 0:00\n");
}

TEST(Progress, OnATerminalTheBarIsDrawnOverAndNeverWiderThanIt) {
  std::ostringstream out;
  Progress progress(out, /*columns=*/60);
  progress.start("step", 2, 4, 1);
  progress.step(2, "first");
  EXPECT_EQ(out.str(), "\r\033[Kstep [============            ] 2/4  eta ?  first");
  out.str("");
  progress.line("a remark");
  EXPECT_EQ(out.str(), "\r\033[Ka remark\n") << "the bar makes room";
  out.str("");
  progress.step(3, std::string(100, 'x'));
  EXPECT_EQ(out.str().size(), std::string("\r\033[K").size() + 59);
  EXPECT_NE(out.str().find("3/4  eta 0:00  xxx"), std::string::npos);
  out.str("");
  progress.step(4, "last");
  EXPECT_EQ(out.str(), "\r\033[Kstep [========================] 4/4  eta 0:00  last\n");
  out.str("");
  progress.line("behind");
  EXPECT_EQ(out.str(), "behind\n") << "the last bar stays";
}

TEST(ClockText, CountsSecondsMinutesAndHours) {
  EXPECT_EQ(clock_text(59.4), "0:59");
  EXPECT_EQ(clock_text(245), "4:05");
  EXPECT_EQ(clock_text(3723), "1:02:03");
}

}  // namespace
}  // namespace sterna::run
