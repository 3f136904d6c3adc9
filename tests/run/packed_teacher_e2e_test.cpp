// `teacher.quant`: a teacher whose matrices stay in few bits.
#include "quant/packed.h"
#include "tests/run/train_fixture.h"
#include "trainer/eval/perplexity.h"
#include "trainer/model/load_parts.h"
#include "trainer/run/session.h"

namespace sterna::tests {
namespace {

class PackedTeacher : public Training {
 protected:
  bool says(const std::string& what) const { return output_.find(what) != output_.npos; }

  run::Session open(const std::string& teacher) const {
    const std::string folder = folder_.path().string();
    recipes::Recipe recipe = recipes::Recipe::parse(
        "model.path = \"" + folder + "/model\"\ndata = { text = \"" + folder +
            "/text.txt\", cache = \"" + folder + "/tokens\" }\nkd.loss = \"kl\"\n" +
            "train = { steps = 1, seq_len = 32 }\n" + teacher,
        "test");
    run::Session session = run::open_session(recipe);
    run::load_models(session);
    return session;
  }

  /// Mean KL divergence of the rounded teacher from the full one.
  double divergence(const std::string& teacher) const {
    const run::Session session = open(teacher);
    const model::Decoder full = model::load_decoder(session.teacher_source, at::kFloat);
    std::vector<int32_t> ids;
    for (int64_t i = 0; i < 4; ++i) {
      const data::Sample sample = session.samples->at(i);
      ids.insert(ids.end(), sample.ids.begin(), sample.ids.end());
    }
    eval::EvalOptions options;
    options.window = 32;
    return eval::evaluate(*session.teacher, ids, options, &full).divergence->mean;
  }
};

TEST_F(PackedTeacher, TakesFewBitsAndIsNearTheTeacherThatItStandsFor) {
  const double eight = divergence("teacher.quant.weight = { name = \"minmax_sym\", bits = 8 }\n");
  const double four =
      divergence("teacher.quant.weight = { name = \"minmax_asym\", bits = 4, group = 16 }\n");
  EXPECT_GT(eight, 0);
  EXPECT_LT(eight, 1e-3);
  EXPECT_GT(four, eight);
  EXPECT_LT(four, 0.1);
  std::printf("KL divergence from the fp32 teacher: 8 bits %.2g, 4 bits %.2g\n", eight, four);

  run::Session session = open("teacher.quant.weight = { name = \"minmax_sym\", bits = 8 }\n");
  int64_t packed = 0;
  int64_t weights = 0;
  for (const quant::Linear* linear : session.teacher->linears()) {
    const auto* matrix = dynamic_cast<const quant::Packed*>(linear->adapter.get());
    ASSERT_TRUE(matrix);
    packed += matrix->bytes();
    weights += matrix->outputs() * matrix->inputs();
  }
  EXPECT_LT(static_cast<double>(packed), 1.2 * static_cast<double>(weights));
  run::Session whole = open("");
  EXPECT_EQ(model::weight_bytes(*whole.teacher) - model::weight_bytes(*session.teacher),
            4 * weights - packed);
}

TEST_F(PackedTeacher, TrainsAsTheSameWeightsUnpackedWouldAndInTheCacheToo) {
  const std::string quant = "teacher.quant.weight={ name = \"minmax_sym\", bits = 4 }";
  ASSERT_EQ(train("packed", {"train.steps=4", quant, "teacher.dtype=bf16"}), 0) << output_;
  ASSERT_EQ(train("cached",
                  {"train.steps=4",
                   quant,
                   "teacher.dtype=bf16",
                   "teacher.cache=hidden",
                   "teacher.cache_dir=" + (folder_.path() / "cache").string()}),
            0)
      << output_;
  EXPECT_EQ(hashes("cached", "step-4"), hashes("packed", "step-4"));
  ASSERT_EQ(train("full", {"train.steps=4", "teacher.dtype=bf16"}), 0) << output_;
  EXPECT_NE(hashes("full", "step-4"), hashes("packed", "step-4"));
  EXPECT_EQ(train("other",
                  {"train.steps=4",
                   "teacher.dtype=bf16",
                   "teacher.cache=hidden",
                   "teacher.cache_dir=" + (folder_.path() / "cache").string()}),
            2);
  EXPECT_TRUE(says("teacher.quant: ")) << output_;
}

TEST_F(PackedTeacher, NamesRulesThatCannotBe) {
  EXPECT_EQ(train("a", {"teacher.quant.rule=[{ match = \"lm_head\", weight = \"minmax_sym\" }]"}),
            2);
  EXPECT_TRUE(says("lm_head is used whole")) << output_;
  EXPECT_EQ(train("b", {"teacher.quant.rule=[{ match = \"*.nose\", weight = \"minmax_sym\" }]"}),
            2);
  EXPECT_TRUE(says("teacher.quant.rule[0].match")) << output_;
}

}  // namespace
}  // namespace sterna::tests
