#include "trainer/io/tensorboard.h"

#include "recipes/user_error.h"
#include "tests/io/support.h"

namespace sterna::io {
namespace {

using tests::raw;

TEST(Crc32c, GivesThePublishedCheckValues) {
  // RFC 3720, appendix B.4
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
}

uint32_t masked(const std::string& bytes) {
  const uint32_t crc = crc32c(bytes);
  return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

TEST(Tensorboard, FramesHoldTheVersionAndThenTheScalarsByteByByte) {
  const tests::TempFolder folder;
  std::filesystem::path path;
  {
    TensorboardWriter writer(folder / "tensorboard");
    writer.scalars(300, {{"loss", 1.5}, {"lr", 1e-4}}, 12.5);
    path = writer.path();
  }
  const std::string bytes = tests::read_file(path);
  const std::string head = raw(uint64_t{24});  // 9 bytes of time, 15 of the version
  EXPECT_EQ(bytes.substr(0, 12), head + raw(masked(head)));
  EXPECT_EQ(bytes.substr(12 + 9, 15),
            "\x1a\x0d"
            "brain.Event:2");
  EXPECT_EQ(bytes.substr(12 + 24, 4), raw(masked(bytes.substr(12, 24))));

  const std::string loss = std::string("\x0a\x04") + "loss" + "\x15" + raw(1.5F);
  const std::string lr = std::string("\x0a\x02") + "lr" + "\x15" + raw(1e-4F);
  const std::string summary = "\x0a" + std::string(1, static_cast<char>(loss.size())) + loss +
                              "\x0a" + std::string(1, static_cast<char>(lr.size())) + lr;
  const std::string event = "\x09" + raw(12.5) + "\x10\xac\x02" + "\x2a" +
                            std::string(1, static_cast<char>(summary.size())) + summary;
  const std::string length = raw(static_cast<uint64_t>(event.size()));
  EXPECT_EQ(bytes.substr(40), length + raw(masked(length)) + event + raw(masked(event)));
}

TEST(Tensorboard, ARestartIsASessionLogThatStartsAtItsStep) {
  const tests::TempFolder folder;
  std::filesystem::path path;
  {
    TensorboardWriter writer(folder / "tensorboard");
    writer.restart(300);
    path = writer.path();
  }
  const std::string bytes = tests::read_file(path);
  // Behind the version's frame: 12 bytes of header, time, step 300, field 7 { field 1: 1 }.
  EXPECT_EQ(bytes.substr(40 + 12 + 9, 7), std::string("\x10\xac\x02\x3a\x02\x08\x01"));
  EXPECT_EQ(bytes.size(), 40 + 12 + 9 + 7 + 4u);
}

TEST(Tensorboard, ALaterFileSortsBehindEveryEarlierOne) {
  const tests::TempFolder folder;
  std::vector<std::string> names;
  for (int i = 0; i < 3; ++i)
    names.push_back(TensorboardWriter(folder.path()).path().filename());
  EXPECT_LT(names[0], names[1]);
  EXPECT_LT(names[1], names[2]);
}

TEST(Tensorboard, AFolderThatCannotBeMadeIsAnError) {
  const tests::TempFolder folder;
  tests::write_file(folder / "file", "");
  EXPECT_THROW(TensorboardWriter(folder / "file/below"), recipes::UserError);
}

}  // namespace
}  // namespace sterna::io
