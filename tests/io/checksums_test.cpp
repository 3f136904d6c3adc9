#include "trainer/io/checksums.h"

#include "tests/io/support.h"
#include "trainer/io/sha256.h"
#include "trainer/io/tensor_file.h"

namespace sterna::io {
namespace {

namespace fs = std::filesystem;
using tests::message_of;

class Checksums : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder_ / "sub");
    tests::write_file(folder_ / "b", "two");
    tests::write_file(folder_ / "a", "one");
    tests::write_file(folder_ / "sub/c", "");
    tests::write_file(folder_ / "certificate.json", "{}");
    list(checksums_of(folder_));
  }
  void list(const std::string& text) { tests::write_file(folder_ / kChecksums, text); }
  std::string error() {
    return message_of<FileError>([&] { require_checksums(folder_); });
  }
  tests::TempFolder folder_;
};

TEST_F(Checksums, ListEveryFileButThemselvesAndTheCertificate) {
  EXPECT_EQ(checksums_of(folder_),
            sha256_of_file(folder_ / "a") + "  a\n" + sha256_of_file(folder_ / "b") + "  b\n" +
                sha256_of_file(folder_ / "sub/c") + "  sub/c\n");
  EXPECT_NO_THROW(require_checksums(folder_));
}

TEST_F(Checksums, AFileThatDiffersOrIsMissingIsNamedWithTheRemedy) {
  tests::write_file(folder_ / "b", "twO");
  EXPECT_HAS(error(), (folder_ / "b").string() + ": damaged: SHA-256 is ");
  EXPECT_HAS(error(), "take its line out of SHA256SUMS");
  list(sha256_of_file(folder_ / "a") + " *a\n");  // as sha256sum --binary writes it
  EXPECT_NO_THROW(require_checksums(folder_)) << "b is nobody's business any more";
  fs::remove(folder_ / "a");
  EXPECT_HAS(error(), (folder_ / "a").string() + ": missing, though SHA256SUMS lists it");
}

TEST_F(Checksums, AListThatIsNoneIsNamedWithItsLine) {
  const std::string good = sha256_of_file(folder_ / "a");
  for (const std::string& bad : {std::string("hello"),
                                 good,
                                 good + "  ",
                                 good.substr(1) + "  a",
                                 "X" + good.substr(1) + "  a",
                                 good + "  /dev/zero",
                                 good + "  sub/../../x"}) {
    list(good + "  a\n" + bad + "\n");
    EXPECT_HAS(error(), (folder_ / kChecksums).string() + ":2: expected 64 hex digits") << bad;
  }
}

TEST_F(Checksums, AFolderWithoutAListIsNotChecked) {
  fs::remove(folder_ / kChecksums);
  EXPECT_NO_THROW(require_checksums(folder_));
}

}  // namespace
}  // namespace sterna::io
