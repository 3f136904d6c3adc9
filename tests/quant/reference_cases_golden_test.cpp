// Values and gradients against the authors' published code (data/qat_cases), to 1e-5.

#include "tests/quant/reference_cases.h"

namespace sterna::quant {
namespace {

TEST(ReferenceCases, TwnAgreesWithTsldAndTernaryBert) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_twn")) {
    const std::string granularity = c.params.at("granularity");
    const std::string group = granularity == "tensor" ? "-1"
                              : granularity == "row"
                                  ? "0"
                                  : std::to_string(c.params.at("group").get<int>());
    const auto clip = c.params.at("clip");
    const auto twn = make(
        "twn",
        kExactAnd + "group = " + group + (clip.is_null() ? "" : ", clip_val = " + clip.dump()));
    expect_values_and_dw(*twn, c, c.at("w"));
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST(ReferenceCases, SeqAgreesWithParetoQ) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_paretoq")) {
    if (c.params.at("route").get<std::string>().rfind("SEQ", 0) != 0)
      continue;
    const bool layerwise = c.params.value("layerwise", false);
    const auto seq = make("seq",
                          kExactAnd + "bits = " + std::to_string(c.params.at("w_bits").get<int>()) +
                              ", group = " + (layerwise ? "-1" : "0"));
    seq->init(c.at("w"));
    Tensor alpha = seq->parameters()[0].tensor;
    if (c.starts_with("init_"))
      expect_near(alpha, c.at("alpha"), c, "the initial alpha");
    alpha.copy_(c.at("alpha").reshape(alpha.sizes()));
    expect_values_and_dw(*seq, c, c.at("w"));
    const Gradients back = seq->backward(c.at("w"), c.at("g"));
    expect_near(back.params[0], c.at("d_alpha"), c, "d_alpha");
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST(ReferenceCases, AffineLearnedAgreesWithEfficientQat) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_affine")) {
    const auto group = std::to_string(c.params.at("group").get<int>());
    const auto affine = make("affine_learned", kExactAnd + c.bits() + ", group = " + group);
    affine->init(c.at("w"));
    Tensor scale = affine->parameters()[0].tensor;
    Tensor zero = affine->parameters()[1].tensor;
    if (c.starts_with("init_")) {
      expect_near(scale, c.at("scale"), c, "the initial scale");
      expect_near(zero, c.at("zero"), c, "the initial zero");
    }
    scale.copy_(c.at("scale").reshape(scale.sizes()));
    zero.copy_(c.at("zero").reshape(zero.sizes()));
    expect_values_and_dw(*affine, c, c.at("w"));
    const Gradients back = affine->backward(c.at("w"), c.at("g"));
    expect_near(back.params[0], c.at("d_scale"), c, "d_scale");
    expect_near(back.params[1], c.at("d_zero"), c, "d_zero");
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST(ReferenceCases, MinmaxAsymAgreesWithTsld) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_asym_group")) {
    if (!c.starts_with("tsld"))
      continue;
    const int group = c.params.at("group").get<int>();
    const auto asym = make(
        "minmax_asym", kExactAnd + c.bits() + ", group = " + std::to_string(std::max(group, 0)));
    expect_values_and_dw(*asym, c, c.at("w"));
    const Encoded e = asym->encode(c.at("w"));
    expect_near(e.scales, c.at("scale"), c, "scale");
    expect_near(e.zeros, c.at("zero"), c, "zero");
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST(ReferenceCases, MinmaxSymAgreesWithTernaryBert) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_minmax")) {
    if (!c.starts_with("sym"))
      continue;
    const auto sym =
        make("minmax_sym",
             kExactAnd + c.bits() + ", group = " + (c.params.at("scope") == "tensor" ? "-1" : "0") +
                 ", clip_val = " + c.params.at("clip").dump());
    expect_values_and_dw(*sym, c, matrix_of(c));
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST(ReferenceCases, MinmaxSymAgreesWithTheEncoderRepositorysKeptMean) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_minmax")) {
    if (!c.starts_with("mx"))
      continue;
    const auto sym =
        make("minmax_sym",
             kExactAnd + c.bits() + ", " + group_of(c) +
                 ", official_kept_mean = true, clip_val = " + c.params.at("clip").dump());
    expect_values_and_dw(*sym, c, c.at("w"));
    ++compared;
  }
  EXPECT_EQ(compared, 4);
}

TEST(ReferenceCases, MinmaxAsymAgreesWithTernaryBert) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_minmax")) {
    if (!c.starts_with("asymnorm"))
      continue;
    const auto asym =
        make("minmax_asym",
             kExactAnd + c.bits() + ", group = " + (c.params.at("scope") == "tensor" ? "-1" : "0") +
                 ", zero = \"float\", clip_val = " + c.params.at("clip").dump());
    expect_values_and_dw(*asym, c, matrix_of(c));
    ++compared;
  }
  EXPECT_EQ(compared, 14);
}

TEST(ReferenceCases, MinmaxAsymAgreesWithBitDistiller) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_asym_group")) {
    if (!c.starts_with("bitdistiller_b"))
      continue;
    const auto asym =
        make("minmax_asym",
             kExactAnd + c.bits() + ", group = " + std::to_string(c.params.at("group").get<int>()) +
                 ", official_range_gradient = true, official_rounding = true");
    expect_values_and_dw(*asym, c, c.at("w"));
    ++compared;
  }
  EXPECT_EQ(compared, 5);
}

TEST(ReferenceCases, TheSpecificationsVectorGivesTheOfficialResults) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  const Case c = cases_of("golden").front();
  const Tensor& w = c.at("w");
  const auto check = [&](const char* name, const std::string& fields, const char* expected) {
    const auto quantizer = make(name, kExactAnd + fields);
    expect_near(fake_quant(*quantizer, w), c.at(expected), c, expected);
  };
  check("twn", "group = 0", "twn");
  check("seq", "bits = 2", "seq2");
  check("seq", "bits = 0", "seq_ternary");
  check("minmax_asym", "bits = 2, group = 8", "asym2");
  check("absmean", "group = -1", "absmean");
  check("pact", "gamma = 1", "pact_gamma1");
  check("pact", "gamma = 0.7", "pact_gamma0.7");
  check("llm_qat", "bits = 2", "llmqat2");
  const auto pact = make("pact", kExactAnd + "gamma = 1");
  pact->init(w);
  const Gradients back = pact->backward(w, c.at("pact_g"));
  expect_near(back.w, c.at("pact_dw"), c, "pact_dw");
  expect_near(back.params[0], c.at("pact_dgamma"), c, "pact_dgamma");
}

}  // namespace
}  // namespace sterna::quant
