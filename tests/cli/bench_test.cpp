#include <cstdlib>

#include <nlohmann/json.hpp>

#include "tests/cli/verbs.h"
#include "trainer/io/json.h"

namespace sterna::tests {
namespace {

class BenchVerb : public Verbs {};

TEST_F(BenchVerb, ConformanceWritesTheVectorsAndSaysWhichVariantsRan) {
  ASSERT_EQ(sterna({"bench", "--conformance", "--json", path("v.json")}), cli::kDone) << err_;
  EXPECT_NE(out_.find("portable: 20 of 20 vectors, bit for bit"), std::string::npos) << out_;
  EXPECT_NE(out_.find("amx: "), std::string::npos) << out_;
  const auto json = io::read_json(path("v.json"));
  EXPECT_EQ(json.at("format"), 1);
  const auto& vectors = json.at("vectors");
  ASSERT_EQ(vectors.size(), 20u);
  // By hand, from what the file says: the sums of a short vector.
  const auto& v = vectors.at(2);
  const int64_t k = v.at("k"), n = v.at("n"), group = v.at("group");
  const int64_t groups = k / group;
  for (int64_t at = 0; at < n * groups; ++at) {
    const auto zero = v.at("zeros").at(static_cast<size_t>(at)).get<size_t>();
    const auto& levels = v.at("levels").at(zero);
    double sum = 0;
    for (int64_t i = 0; i < group; ++i) {
      const int64_t input = at % groups * group + i;
      const auto code =
          v.at("codes").at(static_cast<size_t>(at / groups * k + input)).get<size_t>();
      sum += 2 * levels.at(code).get<double>() *
             v.at("x").at(static_cast<size_t>(input)).get<double>();
    }
    EXPECT_EQ(v.at("sums").at(static_cast<size_t>(at)).get<double>(), sum) << at;
  }
}

TEST_F(BenchVerb, SaysWhatItCanDoWhereNothingIsAsked) {
  EXPECT_EQ(sterna({"bench"}), cli::kUserError);
  EXPECT_NE(err_.find("--conformance"), std::string::npos) << err_;
}

TEST_F(BenchVerb, AVariantThatThereIsNotIsRefusedWithThoseThereAre) {
  setenv("STERNA_KERNEL", "mmx", 1);
  const int code = sterna({"list"});
  unsetenv("STERNA_KERNEL");
  EXPECT_EQ(code, cli::kUserError);
  EXPECT_NE(err_.find("STERNA_KERNEL=mmx: no such variant; it has portable avx2"),
            std::string::npos)
      << err_;
}

}  // namespace
}  // namespace sterna::tests
