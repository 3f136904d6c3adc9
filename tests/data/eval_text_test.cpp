#include "trainer/data/eval_text.h"

#include "tests/data/fixture.h"
#include "tests/support/data.h"

namespace sterna::data {
namespace {

class EvalTextTest : public DataTest {
 protected:
  std::vector<int32_t> ids(EvalBos bos, std::optional<int64_t> most = {}) const {
    EvalTextOptions options;
    options.text = {folder_ / "t"};
    options.separator = "|";
    options.bos = bos;
    options.max_documents = most;
    return read_eval_ids(options, *tokenizer_);
  }
};

TEST_F(EvalTextTest, StartTokensGoWhereTheyAreAskedFor) {
  write("t", "| a |\u00a0\n| b |c|");
  const int32_t a = inner_->encode("a")[0];
  const int32_t b = inner_->encode("b")[0];
  const int32_t c = inner_->encode("c")[0];
  EXPECT_EQ(ids(EvalBos::kNone), (std::vector<int32_t>{a, b, c}));
  EXPECT_EQ(ids(EvalBos::kStart), (std::vector<int32_t>{1, a, b, c}));
  EXPECT_EQ(ids(EvalBos::kDocument), (std::vector<int32_t>{1, a, 1, b, 1, c}));
  EXPECT_EQ(ids(EvalBos::kDocument, 2), (std::vector<int32_t>{1, a, 1, b}));
}

TEST_F(EvalTextTest, OfAHeldOutShareOnlyTheDocumentsThatTrainingLeavesOutAreRead) {
  std::string text;
  for (int i = 0; i < 200; ++i)
    text += "tern " + std::to_string(i) + "|";
  EvalTextOptions options;
  options.text = {write("t", text)};
  options.separator = "|";
  const size_t all = read_eval_ids(options, *tokenizer_).size();
  options.held_out = 0.2;
  const std::vector<int32_t> held = read_eval_ids(options, *tokenizer_);
  const std::string keys = "separator = '|'\nend = 'none'\nshuffle = false\nheld_out = 0.2\n";
  const auto train = open(keys, 1);
  EXPECT_EQ(all, held.size() + static_cast<size_t>(train->tokens()));
  EXPECT_EQ(open(keys + "part = 'held_out'", 1)->tokens(), std::ssize(held));
}

TEST_F(EvalTextTest, AWholeFileIsOneTextAsItIs) {
  EvalTextOptions options;
  options.text = {write("t", " a | b \n")};
  EXPECT_EQ(read_eval_ids(options, *tokenizer_), inner_->encode(" a | b \n"));
}

TEST_F(EvalTextTest, AStartTokenThatDoesNotExistIsRefused) {
  write("t", "a");
  tokenizer_->special_.bos.reset();
  EXPECT_THROW(ids(EvalBos::kStart), recipes::UserError);
  EXPECT_NO_THROW(ids(EvalBos::kNone));
}

TEST_F(EvalTextTest, TextWithoutADocumentIsRefused) {
  write("t", " | \n|");
  EXPECT_THROW(ids(EvalBos::kNone), recipes::UserError);
}

TEST_F(EvalTextTest, NamesOfTheStartRuleAreRead) {
  EXPECT_EQ(parse_eval_bos("document"), EvalBos::kDocument);
  EXPECT_THROW(parse_eval_bos("always"), recipes::UserError);
}

TEST_F(EvalTextTest, HeldOutStoriesGiveTheKnownNumberOfPredictions) {
  STERNA_REQUIRE_DATA("tinystories/tinystories.heldout.txt");
  EvalTextOptions options;
  options.text = {tests::data_dir() / "tinystories/tinystories.heldout.txt"};
  options.separator = "<|endoftext|>";
  options.max_documents = 150;
  options.bos = EvalBos::kDocument;
  const auto tokenizer = text::open_tokenizer(tests::data_dir() / "stories260K/tok512.model");
  // 114 windows of 512 inputs with their targets.
  EXPECT_EQ((std::ssize(read_eval_ids(options, *tokenizer)) - 1) / 512 * 512, 58368);
}

}  // namespace
}  // namespace sterna::data
