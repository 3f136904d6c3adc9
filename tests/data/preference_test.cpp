// data.format = "preference": two answers to each prompt, one behind the other.
#include <set>

#include "tests/data/fixture.h"

namespace sterna::data {
namespace {

class PreferenceData : public DataTest {
 protected:
  std::unique_ptr<SampleSource> open_pairs(const std::string& lines,
                                           const std::string& keys = "",
                                           int64_t seq_len = 16) const {
    write("p.jsonl", lines);
    return open_recipe(
        "[data]\ntext = 'FOLDER/p.jsonl'\ncache = 'FOLDER/cache'\nformat = "
        "'preference'\n" +
            keys,
        seq_len);
  }

  static std::string many(int64_t pairs) {
    std::string lines;
    for (int64_t i = 0; i < pairs; ++i) {
      const std::string n = std::to_string(i);
      lines += "{\"prompt\": \"q" + n + ":\", \"chosen\": \" yes\", \"rejected\": \" no\"}\n";
    }
    return lines;
  }

  std::string message_of(const std::string& lines, const std::string& keys) const {
    try {
      open_pairs(lines, keys);
    } catch (const recipes::UserError& error) {
      return error.what();
    }
    return "";
  }
};

TEST_F(PreferenceData, PutsBothAnswersBehindTheirPromptWithLossOnThemAlone) {
  const auto source = open_pairs(
      "{\"prompt\": \"one two\", \"chosen\": \" three\", \"rejected\": \" four five\"}\n",
      "shuffle = false\n");
  EXPECT_EQ(source->size(), 2);
  EXPECT_EQ(source->together(), 2);
  for (const int64_t i : {0, 1}) {
    const Sample sample = source->at(i);
    EXPECT_EQ(sample.ids.size(), 17u);
    EXPECT_EQ(sample.loss.size(), 16u);
    EXPECT_TRUE(sample.documents.empty()) << "nothing stands before an answer but its prompt";
    const std::string shown = show_sample(sample, *tokenizer_);
    EXPECT_TRUE(shown.starts_with(i == 0 ? "[[one two]] three" : "[[one two]] four five")) << shown;
  }
}

TEST_F(PreferenceData, KeepsPairsTogetherInEveryShuffledEpoch) {
  const auto source = open_pairs(many(20));
  ASSERT_EQ(source->size(), 40);
  std::vector<std::string> orders;
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    std::string order;
    std::set<std::string> prompts;
    for (int64_t i = 0; i < 40; i += 2) {
      const std::string chosen = show_sample(source->at(40 * epoch + i), *tokenizer_);
      const std::string rejected = show_sample(source->at(40 * epoch + i + 1), *tokenizer_);
      const std::string prompt = chosen.substr(0, chosen.find("]]"));
      EXPECT_EQ(rejected.substr(0, rejected.find("]]")), prompt);
      EXPECT_NE(chosen.find("yes"), std::string::npos) << chosen;
      EXPECT_NE(rejected.find("no"), std::string::npos) << rejected;
      prompts.insert(prompt);
      order += prompt;
    }
    EXPECT_EQ(prompts.size(), 20u);
    orders.push_back(order);
  }
  EXPECT_NE(orders[0], orders[1]);
}

TEST_F(PreferenceData, LeavesOutPairsThatTeachNothingAndSaysSo) {
  const std::string far(400, 'x');
  const auto source = open_pairs(
      many(1) + "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"b\"}\n" +
          "{\"prompt\": \"" + far + " " + far + "\", \"chosen\": \"c\", \"rejected\": \"d\"}\n",
      "");
  EXPECT_EQ(source->size(), 2);
  EXPECT_NE(source->note().find("1 of 3 pairs have the same answer twice"), std::string::npos)
      << source->note();
  EXPECT_NE(source->note().find("1 of 3 pairs have an answer with nothing to predict"),
            std::string::npos)
      << source->note();
}

TEST_F(PreferenceData, HoldsOutPromptsWithBothAnswers) {
  const auto train = open_pairs(many(60), "held_out = 0.3\n");
  const auto held = open_pairs(many(60), "held_out = 0.3\npart = 'held_out'\n");
  EXPECT_EQ(train->size() + held->size(), 120);
  EXPECT_EQ(train->size() % 2, 0);
  EXPECT_GT(held->size(), 0);
}

TEST_F(PreferenceData, NamesWhatIsMissingOrCannotBe) {
  const std::string lacks = message_of("{\"prompt\": \"a\", \"chosen\": \"b\"}\n", "");
  EXPECT_NE(lacks.find("p.jsonl:1"), std::string::npos) << lacks;
  EXPECT_NE(lacks.find("\"rejected\" (data.rejected)"), std::string::npos) << lacks;
  EXPECT_NE(message_of(many(2), "packing = 'cut'\n").find("data.packing"), std::string::npos);
  EXPECT_NE(message_of(many(2), "[[data.blend]]\nweight = 1.0\n").find("part the two answers"),
            std::string::npos);
}

}  // namespace
}  // namespace sterna::data
