// Values and gradients against the authors' published code (data/qat_cases), to 1e-5.

#include <fstream>
#include <map>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "quant/quantizer.h"
#include "tests/quant/quantizer_support.h"
#include "tests/support/data.h"
#include "trainer/io/safetensors.h"

namespace sterna::quant {
namespace {

constexpr double kTolerance = 1e-5;
const std::string kExact = "scale_dtype = \"fp32\", ";

/// The tensors of one case, and its parameters.
struct Case {
  std::string name;
  nlohmann::json params;
  std::map<std::string, Tensor> tensors;

  const Tensor& at(const std::string& tensor) const { return tensors.at(tensor); }
  bool has(const std::string& tensor) const { return tensors.count(tensor) > 0; }
  bool starts_with(const std::string& prefix) const { return name.rfind(prefix, 0) == 0; }
  std::string bits() const { return "bits = " + std::to_string(params.at("bits").get<int>()); }
};

Tensor to_tensor(const io::TensorView& view) {
  std::vector<float> values(view.elements());
  io::to_float(view, values);
  return at::tensor(values).view(view.shape);
}

std::vector<Case> cases_of(const std::string& file) {
  const auto folder = tests::data_dir() / "qat_cases";
  std::ifstream in(folder / "cases.json");
  const auto all = nlohmann::json::parse(in).at("files").at(file);
  const auto tensors = io::open_safetensors(folder / (file + ".safetensors"));
  std::vector<Case> result;
  for (const auto& [name, entry] : all.items()) {
    Case c{name, entry.at("params"), {}};
    for (const auto& [tensor, shape] : entry.at("tensors").items()) {
      (void)shape;
      c.tensors[tensor] = to_tensor(tensors->at(name + "/" + tensor));
    }
    result.push_back(std::move(c));
  }
  return result;
}

void expect_near(const Tensor& found, const Tensor& expected, const Case& c, const char* what) {
  Tensor difference = (found.reshape(-1) - expected.reshape(-1)).abs();
  if (c.has("fragile"))
    difference = difference * (c.at("fragile").reshape(-1) == 0);
  EXPECT_LE(largest(difference), kTolerance * largest(expected)) << c.name << ": " << what;
}

void expect_values_and_dw(const Quantizer& quantizer, const Case& c, const Tensor& w) {
  expect_near(decode(quantizer.encode(w)), c.at("wq"), c, "wq");
  const Tensor g = c.at("g").reshape(w.sizes()).contiguous();
  const Gradients back = quantizer.backward(w, g);
  expect_near(back.w, c.at("dw"), c, "dw");
}

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
        "twn", kExact + "group = " + group + (clip.is_null() ? "" : ", clip_val = " + clip.dump()));
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
                          kExact + "bits = " + std::to_string(c.params.at("w_bits").get<int>()) +
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
    const auto affine = make("affine_learned", kExact + c.bits() + ", group = " + group);
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
    const auto asym =
        make("minmax_asym", kExact + c.bits() + ", group = " + std::to_string(std::max(group, 0)));
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
    const std::string scope = c.params.at("scope");
    const Tensor& given = c.at("w");
    // One scale per [batch, head] plane: a plane becomes a row.
    const int64_t rows =
        scope == "batch_head" ? given.size(0) * given.size(1) : given.numel() / given.size(-1);
    const Tensor w = given.reshape({rows, -1}).contiguous();
    const auto sym = make("minmax_sym",
                          kExact + c.bits() + ", group = " + (scope == "tensor" ? "-1" : "0") +
                              ", clip_val = " + c.params.at("clip").dump());
    expect_values_and_dw(*sym, c, w);
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

TEST(ReferenceCases, TheSpecificationsVectorGivesTheOfficialResults) {
  STERNA_REQUIRE_DATA("qat_cases/cases.json");
  const Case c = cases_of("golden").front();
  const Tensor& w = c.at("w");
  const auto check = [&](const char* name, const std::string& fields, const char* expected) {
    const auto quantizer = make(name, kExact + fields);
    expect_near(fake_quant(*quantizer, w), c.at(expected), c, expected);
  };
  check("twn", "group = 0", "twn");
  check("seq", "bits = 2", "seq2");
  check("seq", "bits = 0", "seq_ternary");
  check("minmax_asym", "bits = 2, group = 8", "asym2");
}

}  // namespace
}  // namespace sterna::quant
