// The same for the quantizers that learn clips and steps, and for LLM-QAT, BitNet and NF3.

#include "tests/quant/reference_cases.h"

namespace sterna::quant {
namespace {

TEST(ReferenceCases, AbsmeanAgreesWithBitNet) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_bitnet_own")) {
    if (!c.starts_with("weight"))
      continue;
    expect_values_and_dw(*make("absmean", kExactAnd + "group = -1"), c, c.at("w"));
    ++compared;
  }
  EXPECT_EQ(compared, 3);
}

TEST(ReferenceCases, LlmQatAgreesWithItsOfficialCode) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_llmqat")) {
    if (!c.starts_with("w"))
      continue;
    const auto quantizer =
        make("llm_qat",
             kExactAnd + "bits = " + c.params.at("w_bits").dump() + ", " + group_of(c) +
                 ", official_zero = true, official_eps = true, official_mask = true");
    expect_values_and_dw(*quantizer, c, c.at("w"));
    ++compared;
  }
  EXPECT_EQ(compared, 11);
}

TEST(ReferenceCases, LsqAgreesWithParetoQ) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_paretoq")) {
    if (c.params.at("route").get<std::string>().rfind("SEQ", 0) == 0)
      continue;
    // Cases named after LSQ have one scale a row, as those without the mark.
    const bool whole = c.at("alpha").numel() == 1 && c.at("w").size(0) > 1;
    const auto lsq = make("lsq",
                          kExactAnd + "bits = " + c.params.at("w_bits").dump() +
                              ", official_zero = true, group = " + (whole ? "-1" : "0"));
    lsq->init(c.at("w"));
    if (c.starts_with("init_"))
      expect_near(lsq->parameters()[0].tensor, c.at("alpha"), c, "the initial alpha");
    give(*lsq, 0, c.at("alpha"));
    expect_values_and_dw(*lsq, c, c.at("w"));
    const Gradients back = lsq->backward(c.at("w"), c.at("g"));
    expect_near(back.params[0], c.at("d_alpha"), c, "d_alpha");
    ++compared;
  }
  EXPECT_EQ(compared, 17);
}

TEST(ReferenceCases, PactAgreesWithTsldsLearnedScale) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_pact")) {
    if (!c.starts_with("tsld"))
      continue;
    const auto pact = make("pact", kExactAnd + c.bits() + ", " + group_of(c));
    pact->init(c.at("w"));
    give(*pact, 0, c.at("gamma"));
    expect_values_and_dw(*pact, c, c.at("w"));
    const Gradients back = pact->backward(c.at("w"), c.at("g"));
    expect_near(back.params[0], c.at("d_gamma"), c, "d_gamma");
    ++compared;
  }
  EXPECT_EQ(compared, 14);
}

TEST(ReferenceCases, ClipLearnedAgreesWithTheEncoderRepository) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_pact")) {
    if (!c.starts_with("encoder"))
      continue;
    const bool two = c.has("clip_negative");
    const auto clips =
        make("clip_learned",
             kExactAnd + c.bits() + (two ? ", two_sided = true" : ", official_lost_side = true"));
    clips->init(c.at("w"));
    give(*clips, 0, c.at("clip"));
    if (two)
      give(*clips, 1, c.at("clip_negative"));
    expect_values_and_dw(*clips, c, c.at("w"));
    const Gradients back = clips->backward(c.at("w"), c.at("g"));
    expect_near(back.params[0], c.at("d_clip"), c, "d_clip");
    if (two)
      expect_near(back.params[1], c.at("d_clip_negative"), c, "d_clip_negative");
    ++compared;
  }
  EXPECT_EQ(compared, 4);
}

TEST(ReferenceCases, TheSawbClipIsThatOfTheEncoderRepository) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  for (const Case& c : cases_of("wq_pact")) {
    if (c.name != "sawb_clip")
      continue;
    for (const int64_t bits : {2, 3, 4, 5}) {
      const auto clips =
          make("clip_learned", kExactAnd + "init = \"sawb\", bits = " + std::to_string(bits));
      clips->init(c.at("w"));
      expect_near(clips->parameters()[0].tensor, c.at("clip")[bits - 2], c, "clip");
    }
    return;
  }
  FAIL() << "no such case";
}

TEST(ReferenceCases, Nf3SidedAgreesWithBitDistiller) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_asym_group")) {
    if (!c.starts_with("bitdistiller_nf3"))
      continue;
    const auto nf3 =
        make("nf3_sided",
             kExactAnd + "official_range_gradient = true, group = " + c.params.at("group").dump());
    expect_values_and_dw(*nf3, c, c.at("w"));
    ++compared;
  }
  EXPECT_EQ(compared, 2);
}

}  // namespace
}  // namespace sterna::quant
