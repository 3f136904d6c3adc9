#include "trainer/data/token_cache.h"

#include <random>
#include <stdexcept>

#include "tests/data/fixture.h"
#include "trainer/io/tensor_file.h"

namespace sterna::data {
namespace {

const std::string kKey(64, 'a');

class TokenCacheTest : public DataTest {
 protected:
  void build(int64_t vocab_size) const {
    TokenCacheWriter writer(folder_ / "c", kKey, vocab_size);
    writer.add_document(std::vector<int32_t>{1, 2, 65535});
    writer.add_document({});
    writer.add_document(std::vector<int32_t>{7});
    writer.commit();
  }
};

TEST_F(TokenCacheTest, GivesBackWhatWasWrittenInBothWidths) {
  for (const int64_t vocab_size : {65536, 65537}) {
    build(vocab_size);
    const TokenCache cache(folder_ / "c", kKey);
    EXPECT_EQ(cache.documents(), 2);
    ASSERT_EQ(cache.size(), 4);
    EXPECT_EQ(cache.at(0), 1);
    EXPECT_EQ(cache.at(2), 65535);
    EXPECT_EQ(cache.at(3), 7);
    EXPECT_THROW(cache.at(4), std::out_of_range);
    EXPECT_THROW(cache.at(-1), std::out_of_range);
  }
}

TEST_F(TokenCacheTest, RefusesAnotherKeyAndIdsThatDoNotFit) {
  build(512);
  EXPECT_THROW(TokenCache(folder_ / "c", std::string(64, 'b')), io::FileError);
  TokenCacheWriter writer(folder_ / "d", kKey, 512);
  EXPECT_THROW(writer.add_document(std::vector<int32_t>{65536}), std::out_of_range);
  EXPECT_THROW(writer.add_document(std::vector<int32_t>{-1}), std::out_of_range);
}

TEST_F(TokenCacheTest, LeavesNothingUnderItsNameUntilCommitted) {
  TokenCacheWriter writer(folder_ / "d", kKey, 512);
  writer.add_document(std::vector<int32_t>(2'000'000, 3));
  EXPECT_FALSE(std::filesystem::exists(folder_ / "d"));
}

TEST_F(TokenCacheTest, FindsAFlippedBitInAnyByteAndTruncation) {
  build(512);
  const std::string whole = read_bytes(folder_ / "c");
  for (size_t byte = 0; byte < whole.size(); ++byte) {
    std::string bytes = whole;
    bytes[byte] = static_cast<char>(bytes[byte] ^ (1 << byte % 8));
    EXPECT_THROW(TokenCache(write("m", bytes), kKey), io::FileError) << "byte " << byte;
  }
  for (size_t size = 0; size < whole.size(); size += 7) {
    EXPECT_THROW(TokenCache(write("m", whole.substr(0, size)), kKey), io::FileError) << size;
  }
  EXPECT_THROW(TokenCache(write("m", whole + "x"), kKey), io::FileError);
}

TEST_F(TokenCacheTest, RandomMutationsAreRefusedAndNeverCrash) {
  build(70000);
  const std::string whole = read_bytes(folder_ / "c");
  std::mt19937_64 random(5);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = whole;
    for (uint64_t i = 0, count = 1 + random() % 8; i < count; ++i) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 4 == 0) {
      bytes.resize(random() % (bytes.size() * 2), '\xFF');
    }
    if (bytes == whole) {
      continue;
    }
    EXPECT_THROW(TokenCache(write("m", bytes), kKey), io::FileError);
  }
}

}  // namespace
}  // namespace sterna::data
