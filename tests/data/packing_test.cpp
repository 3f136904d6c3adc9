// How samples lie over documents, what is held out, and how sources mix.
#include <algorithm>
#include <map>
#include <set>

#include "tests/data/fixture.h"
#include "trainer/data/blend.h"
#include "trainer/data/documents.h"

namespace sterna::data {
namespace {

using PackingTest = DataTest;

std::string documents_of_numbers(int count) {
  std::string text;
  for (int i = 0; i < count; ++i)
    text += "tern " + std::to_string(i) + "|";
  return text;
}

/// Every token of a source that is seen unshuffled, document after document.
std::set<std::string> documents_in(const SampleSource& source, const text::Tokenizer& tokenizer) {
  std::set<std::string> found;
  for (int64_t i = 0; i < source.size(); ++i) {
    const Sample sample = source.at(i);
    std::map<int32_t, std::vector<int32_t>> parts;
    const size_t size = sample.ids.size() - (sample.loss.back() == 0 ? 1 : 0);  // a filler
    for (size_t t = 0; t < size; ++t)
      parts[sample.documents[std::min(t, sample.documents.size() - 1)]].push_back(sample.ids[t]);
    for (const auto& [number, ids] : parts)
      found.insert(tokenizer.decode(ids));
  }
  return found;
}

TEST_F(PackingTest, DocumentsAreNumberedFromZeroInEverySample) {
  write("t", "a b c d e|f|g h");
  const std::string keys = "separator = '|'\nshuffle = false\n";
  const auto source = open(keys + "document_mask = 'on'", 4);
  int32_t documents = 1;
  for (int64_t i = 0; i < source->size(); ++i) {
    const Sample sample = source->at(i);
    ASSERT_EQ(sample.documents.size(), 4u);
    EXPECT_EQ(sample.documents[0], 0);
    for (size_t t = 1; t < 4; ++t) {
      EXPECT_EQ(sample.documents[t] - sample.documents[t - 1], sample.ids[t - 1] == 0 ? 1 : 0);
      documents += sample.documents[t] - sample.documents[t - 1];
    }
    // The first token of a document is foretold by nothing in it.
    for (size_t t = 0; t < 4; ++t)
      EXPECT_EQ(sample.loss[t], sample.ids[t] == 0 ? 0 : 1);
  }
  EXPECT_GT(documents, 1);
  EXPECT_TRUE(open(keys, 4)->at(0).documents.empty());
  EXPECT_EQ(open(keys, 4)->at(0).loss, std::vector<uint8_t>(4, 1));
}

TEST_F(PackingTest, WholeDocumentsAreNeverSplitAndTheRestCarriesNoLoss) {
  write("t", documents_of_numbers(40));
  const auto source = open("separator = '|'\nshuffle = false\npacking = 'whole'", 15);
  const std::set<std::string> found = documents_in(*source, *inner_);
  for (int i = 0; i < 40; ++i)
    EXPECT_TRUE(found.contains("tern " + std::to_string(i) + "<|end|>")) << i;
  int64_t filled = 0;
  for (int64_t i = 0; i < source->size(); ++i) {
    const Sample sample = source->at(i);
    ASSERT_EQ(sample.ids.size(), 16u);
    ASSERT_EQ(sample.loss.size(), 15u);
    for (size_t t = 1; t < 16; ++t) {
      const bool filler = sample.ids[t] == 0 && sample.ids[t - 1] == 0;
      EXPECT_EQ(sample.loss[t - 1], sample.ids[t - 1] == 0 ? 0 : 1) << i << " " << t;
      filled += filler ? 1 : 0;
    }
  }
  EXPECT_GT(filled, 0);
  EXPECT_EQ(source->at(0).ids[0], inner_->encode("tern 0")[0]);
}

TEST_F(PackingTest, FillersAreShownOnce) {
  write("t", "a");
  const Sample sample = open("packing = 'whole'", 40)->at(0);
  EXPECT_EQ(show_sample(sample, *inner_), "[[a]]<|end|>\n=====\n[[<|end|> x 39]]");
}

TEST_F(PackingTest, TooLongDocumentsAreCutAndCounted) {
  write("t", long_text() + "|a b");
  const auto source = open("separator = '|'\nshuffle = false\npacking = 'whole'", 8);
  EXPECT_EQ(source->size(), 2);
  EXPECT_NE(source->note().find("1 of 2 documents are longer"), std::string::npos)
      << source->note();
  EXPECT_EQ(source->at(0).loss, std::vector<uint8_t>(8, 1));
}

TEST_F(PackingTest, DocumentsWithNothingToPredictAreLeftOut) {
  write("t",
        R"({"prompt": "a b c", "response": ""})"
        "\n"
        R"({"prompt": "d", "response": " e"})");
  const auto source = open("format = 'pairs'\nend = 'none'", 8);
  EXPECT_EQ(source->size(), 1);
  EXPECT_EQ(source->at(0).ids[0], inner_->encode("d")[0]);
  EXPECT_NE(source->note().find("1 of 2"), std::string::npos) << source->note();
}

TEST_F(PackingTest, HeldOutDocumentsAndTheRestAreTheWholeText) {
  write("t", documents_of_numbers(400));
  const std::string keys = "separator = '|'\nshuffle = false\npacking = 'whole'\nheld_out = 0.25\n";
  const auto in = [&](const std::string& part) {
    std::set<std::string> found = documents_in(*open(keys + "part = '" + part + "'", 5), *inner_);
    std::erase_if(found, [](const std::string& text) { return !text.starts_with("tern"); });
    return found;
  };
  const std::set<std::string> train = in("train");
  const std::set<std::string> held = in("held_out");
  EXPECT_EQ(train.size() + held.size(), 400u);
  EXPECT_GT(held.size(), 60u);
  EXPECT_LT(held.size(), 140u);
  for (const std::string& document : held)
    EXPECT_FALSE(train.contains(document)) << document;
  EXPECT_THROW(open("part = 'held_out'"), recipes::UserError);
}

TEST(HeldOut, DependsOnTheDocumentAloneAndGrowsWithTheShare) {
  int held = 0;
  for (int i = 0; i < 2000; ++i) {
    const std::string document = std::to_string(i);
    EXPECT_FALSE(is_held_out(document, 0));
    EXPECT_TRUE(is_held_out(document, 1));
    held += is_held_out(document, 0.1) ? 1 : 0;
    EXPECT_TRUE(!is_held_out(document, 0.1) || is_held_out(document, 0.2));
  }
  EXPECT_NEAR(held, 200, 45);
}

constexpr const char* kBlend = R"([data]
separator = '|'
packing = 'whole'
cache = 'FOLDER/cache'
[[data.blend]]
text = 'FOLDER/a'
weight = 7
[[data.blend]]
text = 'FOLDER/b'
weight = 3
)";

class BlendTest : public DataTest {
 protected:
  void SetUp() override {
    DataTest::SetUp();
    std::string a, b;
    for (int i = 0; i < 900; ++i) {
      a += "alpha " + std::to_string(i) + "|";
      b += "beta " + std::to_string(i) + "|";
    }
    write("a", a);
    write("b", b);
  }

  std::string first(const SampleSource& source, int64_t index) const {
    return inner_->decode(source.at(index).ids);
  }
};

TEST_F(BlendTest, EveryBlockHoldsTheRatioExactlyAndMixed) {
  const auto source = open_recipe(kBlend, 7);
  for (int64_t block = 0; block < 3; ++block) {
    int64_t alphas = 0;
    int64_t changes = 0;
    bool before = false;
    for (int64_t i = 0; i < kBlendBlock; ++i) {
      const bool alpha = first(*source, block * kBlendBlock + i).find("alpha") != std::string::npos;
      alphas += alpha ? 1 : 0;
      changes += alpha != before ? 1 : 0;
      before = alpha;
    }
    EXPECT_EQ(alphas, 700);
    EXPECT_GT(changes, 300);
  }
}

TEST_F(BlendTest, EverySourceGoesThroughEpochsOfItsOwn) {
  const auto blend = open_recipe(kBlend, 7);
  std::multiset<std::vector<int32_t>> mixed;
  for (int64_t i = 0; i < 3 * kBlendBlock; ++i)
    mixed.insert(blend->at(i).ids);
  const std::string keys = "[data]\nseparator = '|'\npacking = 'whole'\ncache = 'FOLDER/cache'\n";
  std::multiset<std::vector<int32_t>> apart;
  const auto alpha = open_recipe(keys + "text = 'FOLDER/a'", 7, 1);
  const auto beta = open_recipe(keys + "text = 'FOLDER/b'", 7, 2);
  EXPECT_LT(alpha->size(), 2100) << "more than one epoch";
  for (int64_t i = 0; i < 2100; ++i)
    apart.insert(alpha->at(i).ids);
  for (int64_t i = 0; i < 900; ++i)
    apart.insert(beta->at(i).ids);
  EXPECT_EQ(mixed, apart);
}

TEST_F(BlendTest, ASampleKnowsNoneOfThoseBeforeIt) {
  const auto source = open_recipe(kBlend, 7);
  const auto again = open_recipe(kBlend, 7);
  const auto other = open_recipe(kBlend, 7, 2);
  int differences = 0;
  for (const int64_t i : {2999, 17, 1000, 0, 999}) {
    EXPECT_EQ(again->at(i).ids, source->at(i).ids);
    differences += other->at(i).ids != source->at(i).ids ? 1 : 0;
  }
  EXPECT_GT(differences, 3);
  EXPECT_EQ(again->fingerprint(), source->fingerprint());
  write("b", "beta|changed|text|here|and more of it, and more");
  EXPECT_NE(open_recipe(kBlend, 7)->fingerprint(), source->fingerprint());
}

TEST_F(BlendTest, PartsThatKeepDocumentsApartAndPartsThatDoNotAreNotMixed) {
  std::string mixed = kBlend;
  mixed += "packing = 'cut'\n";
  EXPECT_THROW(open_recipe(mixed, 7), recipes::RecipeError);
  mixed.replace(mixed.find("packing = 'whole'"), 17, "document_mask = 'on'\npacking = 'whole'");
  EXPECT_NO_THROW(open_recipe(mixed, 7));
}

TEST_F(BlendTest, SharesThatAreTooSmallAndMistypedKeysAreNamed) {
  EXPECT_EQ(blend_counts({1, 1, 1}), (std::vector<int64_t>{334, 333, 333}));
  EXPECT_EQ(blend_counts({0.7, 0.2, 0.1}), (std::vector<int64_t>{700, 200, 100}));
  std::string tiny = kBlend;
  tiny.replace(tiny.find("weight = 3"), 10, "weight = 0.001");
  EXPECT_THROW(open_recipe(tiny, 7), recipes::RecipeError);
  EXPECT_THROW(open_recipe(std::string(kBlend) + "wieght = 2\n", 7), recipes::RecipeError);
}

}  // namespace
}  // namespace sterna::data
