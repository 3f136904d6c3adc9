#include <sys/stat.h>

#include <nlohmann/json.hpp>

#include "tests/io/support.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/io/sha256.h"
#include "trainer/io/tensor_file.h"

namespace sterna::io {
namespace {

namespace fs = std::filesystem;
using tests::message_of;
using tests::TempFolder;

std::string sha(const std::string& text) {
  return sha256_hex(std::as_bytes(std::span(text)));
}

TEST(Sha256Of, GivesThePublishedDigests) {
  EXPECT_EQ(sha(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Of, DoesNotDependOnHowTheBytesAreCut) {
  const std::string text(300, 'x');
  for (size_t first = 0; first <= 130; ++first) {
    Sha256 hash;
    hash.update(std::string_view(text).substr(0, first));
    hash.update(std::string_view(text).substr(first));
    EXPECT_EQ(hash.hex(), sha(text));
  }
}

TEST(Sha256Of, AFileIsHashedWholeAnEmptyOneToo) {
  const TempFolder folder;
  tests::write_file(folder / "a", "abc");
  tests::write_file(folder / "empty", "");
  EXPECT_EQ(sha256_of_file(folder / "a"), sha("abc"));
  EXPECT_EQ(sha256_of_file(folder / "empty"), sha(""));
  EXPECT_THROW(sha256_of_file(folder / "absent"), FileError);
}

TEST(AtomicFiles, ReplaceTheOldContentAndLeaveNothingBesides) {
  const TempFolder folder;
  write_atomically(folder / "a", "one");
  write_atomically(folder / "a", std::string(100'000, 'z'));
  EXPECT_EQ(read_text(folder / "a"), std::string(100'000, 'z'));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFiles, AnAbandonedFileLeavesTheOldOneAndNoSibling) {
  const TempFolder folder;
  write_atomically(folder / "a", "old");
  {
    AtomicFile file(folder / "a");
    file.write(std::as_bytes(std::span("new", 3)));
  }
  EXPECT_EQ(read_text(folder / "a"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
}

TEST(AtomicFiles, AFolderThatIsNotThereIsNamed) {
  const TempFolder folder;
  EXPECT_HAS(message_of<FileError>([&] { write_atomically(folder / "no/a", "x"); }), "no/a");
}

TEST(AtomicFiles, ReadTextRefusesFilesBeyondItsLimitAndAbsentOnes) {
  const TempFolder folder;
  tests::write_file(folder / "a", "12345");
  EXPECT_EQ(read_text(folder / "a", 5), "12345");
  EXPECT_HAS(message_of<FileError>([&] { read_text(folder / "a", 4); }),
             "5 bytes, more than the 4");
  EXPECT_HAS(message_of<FileError>([&] { read_text(folder / "b"); }), "cannot be read");
}

TEST(PublishFolder, MovesAFinishedFolderButNeverOntoAnExistingName) {
  const TempFolder folder;
  fs::create_directories(folder / "new/sub");
  tests::write_file(folder / "new/sub/a", "x");
  publish_folder(folder / "new", folder / "done");
  EXPECT_EQ(read_text(folder / "done/sub/a"), "x");
  EXPECT_FALSE(fs::exists(folder / "new"));
  fs::create_directories(folder / "again");
  fs::create_directories(folder / "empty");
  EXPECT_HAS(message_of<FileError>([&] { publish_folder(folder / "again", folder / "empty"); }),
             "exists already");
}

TEST(Json, DuplicateKeysDeepNestingAndDamageAreRefusedWithTheByte) {
  EXPECT_NO_THROW(parse_json(R"({"a":{"x":1},"b":{"x":1}})", "f.json"));
  EXPECT_HAS(message_of<FileError>([] { parse_json(R"({"a":1,"b":{"c":1,"c":2}})", "f.json"); }),
             "f.json: JSON names the key 'c' twice (at byte 21)");
  EXPECT_HAS(message_of<FileError>([] { parse_json(R"({"a":1,"a":2})", "f.json", 100); }),
             "twice (at byte 110)");
  EXPECT_HAS(message_of<FileError>([] { parse_json(std::string(100, '['), "f.json"); }),
             "deeper than 64 (at byte 66)");
  EXPECT_HAS(message_of<FileError>([] { parse_json("[1,]", "f.json", 100); }), "at byte 104");
  // A fuzzer's find: the library has an exception of its own for it.
  EXPECT_HAS(message_of<FileError>([] { parse_json("[1, 1e999]", "f.json", 100); }),
             "f.json: JSON holds a number that is none here (at byte 110)");
}

}  // namespace
}  // namespace sterna::io
