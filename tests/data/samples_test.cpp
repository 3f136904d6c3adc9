#include "trainer/data/samples.h"

#include <algorithm>
#include <set>

#include "tests/data/fixture.h"

namespace sterna::data {
namespace {

using SamplesTest = DataTest;

// All tokens of the epoch, from unshuffled samples of two tokens.
std::vector<int32_t> stream(const SampleSource& source) {
  std::vector<int32_t> ids = source.at(0).ids;
  for (int64_t i = 1; i < source.size(); ++i) {
    ids.push_back(source.at(i).ids.back());
  }
  return ids;
}

TEST_F(SamplesTest, PacksDocumentsWithEndTokensAndDropsEmptyOnes) {
  write("t", "a b<|x|>  \n <|x|> c d \n<|x|>");
  const auto source = open("separator = '<|x|>'\nshuffle = false", 1);
  std::vector<int32_t> expected = inner_->encode("a b");
  expected.push_back(0);
  for (const int32_t id : inner_->encode("c d")) {
    expected.push_back(id);
  }
  expected.push_back(0);
  EXPECT_EQ(stream(*source), expected);
  EXPECT_EQ(source->tokens(), std::ssize(expected));
}

TEST_F(SamplesTest, KeepsAWholeFileAsItIsWithoutASeparator) {
  write("t", " a b \n");
  std::vector<int32_t> expected = inner_->encode(" a b \n");
  expected.push_back(0);
  EXPECT_EQ(stream(*open("shuffle = false", 1)), expected);
}

TEST_F(SamplesTest, ReadsJsonLines) {
  write("t", "{\"body\": \"a b\", \"n\": 1}\n\n{\"body\": \"\"}\n{\"body\": \"c\\u00e9\"}");
  std::vector<int32_t> expected = inner_->encode("a b");
  expected.push_back(0);
  for (const int32_t id : inner_->encode("cé")) {
    expected.push_back(id);
  }
  expected.push_back(0);
  EXPECT_EQ(stream(*open("format = 'jsonl'\nfield = 'body'\nshuffle = false", 1)), expected);
}

TEST_F(SamplesTest, NamesTheLineOfAJsonlFileThatIsNoObjectWithText) {
  write("t", "{\"text\": \"a\"}\n{\"text\": 3}\n");
  try {
    open("format = 'jsonl'");
    FAIL() << "a number was taken for a text";
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find(":2: "), std::string::npos) << error.what();
  }
}

TEST_F(SamplesTest, PutsStartTokensWhereTheTokenizerOrTheRecipeSays) {
  write("t", "a<|x|>b");
  const std::string keys = "separator = '<|x|>'\nend = 'none'\nshuffle = false\n";
  const int32_t a = inner_->encode("a")[0];
  const int32_t b = inner_->encode("b")[0];
  EXPECT_EQ(stream(*open(keys, 1)), (std::vector<int32_t>{a, b}));
  EXPECT_EQ(stream(*open(keys + "bos = 'document'", 1)), (std::vector<int32_t>{1, a, 1, b}));
  tokenizer_->special_.add_bos = true;
  EXPECT_EQ(stream(*open(keys, 1)), (std::vector<int32_t>{1, a, 1, b}));
  EXPECT_EQ(stream(*open(keys + "bos = 'none'", 1)), (std::vector<int32_t>{a, b}));
}

TEST_F(SamplesTest, EndTokenCanBeNamedAndMustBeOneToken) {
  write("t", "a<|x|>b");
  const std::string keys = "separator = '<|x|>'\nshuffle = false\n";
  EXPECT_EQ(stream(*open(keys + "end = '<s>'", 1))[1], 1);
  EXPECT_THROW(open(keys + "end = 'two words'"), recipes::UserError);
  tokenizer_->special_.eos.reset();
  EXPECT_THROW(open(keys), recipes::UserError);
}

TEST_F(SamplesTest, NeighboursShareOneTokenSoThatNoTargetIsLost) {
  write("t", long_text());
  const auto source = open("shuffle = false", 8);
  for (int64_t i = 0; i + 1 < source->size(); ++i) {
    const Sample sample = source->at(i);
    ASSERT_EQ(sample.ids.size(), 9u);
    ASSERT_EQ(sample.loss, std::vector<uint8_t>(8, 1));
    EXPECT_EQ(sample.ids.back(), source->at(i + 1).ids.front());
  }
  EXPECT_EQ(source->size(), (source->tokens() - 1) / 8);
}

TEST_F(SamplesTest, EveryEpochShowsEverySampleInAnotherOrder) {
  write("t", long_text());
  const auto plain = open("shuffle = false", 8);
  const auto shuffled = open("", 8, 1);
  const auto other_seed = open("", 8, 2);
  const auto epoch = [&](const SampleSource& source, int64_t number) {
    std::vector<std::vector<int32_t>> samples;
    for (int64_t i = 0; i < source.size(); ++i) {
      samples.push_back(source.at(number * source.size() + i).ids);
    }
    return samples;
  };
  const auto sorted = [](auto samples) {
    std::sort(samples.begin(), samples.end());
    return samples;
  };
  EXPECT_EQ(sorted(epoch(*shuffled, 0)), sorted(epoch(*plain, 0)));
  EXPECT_EQ(sorted(epoch(*shuffled, 3)), sorted(epoch(*plain, 0)));
  EXPECT_NE(epoch(*shuffled, 0), epoch(*shuffled, 1));
  EXPECT_NE(epoch(*shuffled, 0), epoch(*other_seed, 0));
  EXPECT_EQ(epoch(*plain, 0), epoch(*plain, 1));
  EXPECT_EQ(epoch(*shuffled, 1), epoch(*open("", 8, 1), 1));
}

TEST_F(SamplesTest, SecondOpeningDoesNotTokenizeAgain) {
  write("t", long_text());
  const auto first = open();
  EXPECT_NE(first->note(), "");
  EXPECT_GT(tokenizer_->calls, 0);
  tokenizer_->calls = 0;
  const auto second = open();
  EXPECT_EQ(tokenizer_->calls, 0);
  EXPECT_EQ(second->note(), "");
  EXPECT_EQ(second->at(3).ids, first->at(3).ids);
}

TEST_F(SamplesTest, ContentTokenizerAndOptionsChangeTheKey) {
  write("t", "a b c d e f g h i j k l m n o p");
  std::set<std::string> keys{open()->fingerprint()};
  keys.insert(open("separator = ' '")->fingerprint());
  keys.insert(open("strip = false")->fingerprint());
  keys.insert(open("end = 'none'")->fingerprint());
  keys.insert(open("bos = 'document'")->fingerprint());
  keys.insert(open("separator = ' '\nmax_documents = 9")->fingerprint());
  write("t", "a b c d e f g h i j k l m n o q");
  keys.insert(open()->fingerprint());
  tokenizer_->fingerprint_ += "x";
  keys.insert(open()->fingerprint());
  EXPECT_EQ(keys.size(), 8u);
}

TEST_F(SamplesTest, DamagedCacheIsMadeAnewAndSaysSo) {
  write("t", long_text());
  const Sample before = open()->at(5);
  std::string bytes = read_bytes(cache_file());
  bytes[bytes.size() / 3] ^= 4;
  std::ofstream(cache_file(), std::ios::binary) << bytes;
  tokenizer_->calls = 0;
  const auto again = open();
  EXPECT_GT(tokenizer_->calls, 0);
  EXPECT_NE(again->note().find("damaged"), std::string::npos) << again->note();
  EXPECT_EQ(again->at(5).ids, before.ids);
  EXPECT_EQ(open()->note(), "");
}

TEST_F(SamplesTest, TooShortTextSaysHowMuchIsMissing) {
  write("t", "a b c");
  try {
    open("", 512);
    FAIL() << "three words made a sample of 513 tokens";
  } catch (const recipes::UserError& error) {
    EXPECT_NE(std::string(error.what()).find("513"), std::string::npos) << error.what();
  }
}

TEST_F(SamplesTest, AbsentFileIsNamed) {
  EXPECT_THROW(open(), recipes::UserError);
}

TEST_F(SamplesTest, ShowSampleMarksWhatCarriesNoLoss) {
  Sample sample;
  sample.ids = inner_->encode("one two three");
  sample.loss.assign(sample.ids.size() - 1, 1);
  const std::string first = inner_->decode(std::span(sample.ids).first(1));
  const std::string rest = inner_->decode(std::span(sample.ids).subspan(1));
  EXPECT_EQ(show_sample(sample, *inner_), "[[" + first + "]]" + rest);
  sample.loss.assign(sample.loss.size(), 0);
  EXPECT_EQ(show_sample(sample, *inner_), "[[one two three]]");
}

}  // namespace
}  // namespace sterna::data
