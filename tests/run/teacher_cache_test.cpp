#include "trainer/run/teacher_cache.h"

#include <fstream>

#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "tests/support/temp_folder.h"
#include "trainer/run/teacher_rows.h"

namespace sterna::run {
namespace {

namespace fs = std::filesystem;

std::vector<std::byte> row_of(int value) {
  return std::vector<std::byte>(24, static_cast<std::byte>(value));
}

std::string key_of(int64_t id, bool documents = false) {
  const Tensor tokens = at::arange(4, at::kLong).add(id).unsqueeze(0);
  return sample_key(documents ? Inputs(tokens, at::zeros_like(tokens)) : Inputs(tokens), 0);
}

class TeacherCacheTest : public testing::Test {
 protected:
  TeacherCache open(const TeacherCache::Terms& terms = {{"teacher", "a"}, {"seq_len", "8"}}) const {
    return {folder_ / "cache", terms, 24};
  }

  fs::path part() const {
    for (const auto& entry : fs::directory_iterator(folder_ / "cache"))
      if (entry.path().extension() == ".part")
        return entry.path();
    return {};
  }

  /// Turns one bit of the part's byte `at`.
  void damage(int64_t at) const {
    std::fstream file(part(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const auto byte = static_cast<char>(file.get() ^ 1);
    file.seekp(at);
    file.put(byte);
  }

  template <class Action>
  static std::string message_of(const Action& action) {
    try {
      action();
    } catch (const recipes::UserError& error) {
      return error.what();
    }
    return "";
  }

  const tests::TempFolder folder_;
};

TEST_F(TeacherCacheTest, FindsARowByItsSampleAlsoWhenOpenedAgain) {
  {
    TeacherCache cache = open();
    cache.add(key_of(1), row_of(1));
    cache.commit();
    cache.add(key_of(2), row_of(2));
    cache.add(key_of(1), row_of(9));
    EXPECT_TRUE(cache.holds(key_of(2)));
    cache.commit();
    cache.add(key_of(3), row_of(3));  // never committed
  }
  const TeacherCache again = open();
  EXPECT_EQ(again.size(), 2);
  for (const int id : {1, 2}) {
    const auto row = again.row(key_of(id));
    EXPECT_EQ(std::vector<std::byte>(row.begin(), row.end()), row_of(id));
  }
  EXPECT_FALSE(again.holds(key_of(3)));
  EXPECT_FALSE(again.holds(key_of(1, /*documents=*/true))) << "a mask changes what is answered";
  EXPECT_NE(message_of([&] { again.row(key_of(3)); }).find("does not hold"), std::string::npos);
}

TEST_F(TeacherCacheTest, NamesEveryTermThatDiffers) {
  open();
  const std::string message = message_of([&] { open({{"teacher", "b"}, {"seq_len", "16"}}); });
  EXPECT_NE(message.find("teacher: a there, b now"), std::string::npos) << message;
  EXPECT_NE(message.find("seq_len: 8 there, 16 now"), std::string::npos) << message;
  EXPECT_EQ(message_of([&] {
              open({{"teacher", "b"}, {"seq_len", "8"}});
            }).find("seq_len"),
            std::string::npos);
}

TEST_F(TeacherCacheTest, ADamagedByteIsRefusedInARowAndSetsThePartAsideElsewhere) {
  {
    TeacherCache cache = open();
    cache.add(key_of(1), row_of(1));
    cache.commit();
  }
  const auto size = static_cast<int64_t>(fs::file_size(part()));
  const fs::path path = part();
  for (int64_t at = 0; at < size; ++at) {
    damage(at);
    const TeacherCache cache = open();
    if (at < 24) {
      EXPECT_NE(message_of([&] { cache.row(key_of(1)); }).find("remove the file"),
                std::string::npos);
    } else {
      EXPECT_EQ(cache.damaged().size(), 1u) << "byte " << at << " of " << size;
      EXPECT_FALSE(cache.holds(key_of(1)));
      fs::rename(path.string() + ".damaged", path);
    }
    damage(at);
  }
  EXPECT_EQ(message_of([&] { open().row(key_of(1)); }), "");
  fs::resize_file(path, 100);
  EXPECT_NE(open().damaged().at(0).find("footer"), std::string::npos);
}

TEST(TeacherRows, GiveBackWhatWasPacked) {
  at::manual_seed(3);
  const Tensor states = at::randn({2, 5, 6}).to(at::kBFloat16);
  TeacherRows hidden;
  hidden.tokens = 5;
  hidden.width = 6;
  EXPECT_EQ(hidden.bytes_per_token(), 12);
  const auto rows = hidden.pack(states, {});
  ASSERT_EQ(std::ssize(rows[0]), hidden.bytes());
  distill::HeadInputs head;
  hidden.unpack({rows[0], rows[1]}, head);
  EXPECT_TRUE(at::equal(head.teacher_hidden, states));

  for (const int64_t vocab : {300, 70000}) {
    TeacherRows topk;
    topk.kind = "topk";
    topk.tokens = 5;
    topk.vocab = vocab;
    topk.k = 4;
    EXPECT_EQ(topk.bytes_per_token(), vocab == 300 ? 4 * 2 + 5 * 2 : 4 * 4 + 5 * 2);
    const distill::TopWords words = distill::top_words(at::randn({10, vocab}) * 4, topk.k);
    const auto packed = topk.pack(states, words);
    topk.unpack({packed[0], packed[1]}, head);
    EXPECT_TRUE(at::equal(head.teacher_top.ids.view({10, 4}), words.ids));
    const Tensor apart = head.teacher_top.log_p.view({10, 5}) - words.log_p;
    EXPECT_LT(apart.abs().max().item<double>(), 5e-3);
    EXPECT_LT((head.teacher_top.log_p.exp().sum(-1) - 1).abs().max().item<double>(), 1e-6);
  }
}

}  // namespace
}  // namespace sterna::run
