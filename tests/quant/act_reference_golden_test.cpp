// Activations against the authors' published code (data/qat_cases), values and gradients to 1e-5.
#include "tests/quant/act_support.h"
#include "tests/quant/reference_cases.h"

namespace sterna::quant {
namespace {

void expect_case(ActQuantizer& act, const Case& c) {
  const Tensor& x = c.at("w");
  expect_near(act.forward(x), c.at("wq"), c, "wq");
  expect_near(act.backward(x, c.at("g")), c.at("dw"), c, "dw");
}

TEST(ActReferenceCases, PerTokenAgreesWithBitNet) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_bitnet_own")) {
    if (c.name != "activation")
      continue;
    expect_case(*make_act("per_token"), c);
    ++compared;
  }
  EXPECT_EQ(compared, 1);
}

TEST(ActReferenceCases, PerTokenAgreesWithLlmQat) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_llmqat")) {
    if (!c.starts_with("act"))
      continue;
    expect_case(*make_act("per_token", c.bits() + ", official_eps = true, official_mask = true"),
                c);
    ++compared;
  }
  EXPECT_EQ(compared, 2);
}

TEST(ActReferenceCases, BothDynamicOnesAgreeWithTernaryBert) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  int compared = 0;
  for (const Case& c : cases_of("wq_minmax")) {
    const bool norm = c.starts_with("asymnorm");
    const std::string scope = c.params.value("scope", "");
    if ((!norm && !c.starts_with("sym")) || scope == "batch_head")
      continue;  // one scale a plane of attention scores: no site of a decoder has that
    const auto act = make_act(scope == "tensor" ? "per_tensor" : "per_token",
                              c.bits() + ", clip_val = " + c.params.at("clip").dump() +
                                  (norm ? ", symmetric = false, official_norm = true" : ""));
    expect_case(*act, c);
    ++compared;
  }
  EXPECT_GE(compared, 30);
}

}  // namespace
}  // namespace sterna::quant
