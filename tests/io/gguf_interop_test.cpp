// Files that the gguf package writes, read here: values bit for bit, metadata of every type.
#include <cstring>

#include <nlohmann/json.hpp>

#include "tests/support/peers.h"
#include "trainer/io/gguf.h"
#include "trainer/io/json.h"
#include "trainer/io/safetensors.h"

namespace sterna::io {
namespace {

using nlohmann::json;

class GgufPackage : public tests::Peers {
 protected:
  void make(const std::string& seed, const std::vector<std::string>& alignment = {}) {
    std::vector<std::string> arguments{path("x.gguf"), path("values"), path("metadata"), seed};
    arguments.insert(arguments.end(), alignment.begin(), alignment.end());
    ASSERT_NO_FATAL_FAILURE(python("scripts/peers/make_gguf.py", arguments));
    file_ = open_gguf(folder_ / "x.gguf");
  }

  /// Every tensor de-quantizes to the bits that gguf.quants gives. @return how many of each type
  std::map<std::string, int> expect_same_values() const {
    const auto wanted = open_safetensors(folder_ / "values");
    EXPECT_EQ(file_->tensors().size(), wanted->tensors().size());
    std::map<std::string, int> seen;
    for (const TensorView& view : file_->tensors()) {
      const TensorView& theirs = wanted->at(view.name);
      EXPECT_EQ(view.shape, theirs.shape) << view.name;
      std::vector<float> ours(view.elements());
      to_float(view, ours);
      EXPECT_EQ(std::memcmp(ours.data(), theirs.bytes.data(), theirs.bytes.size()), 0) << view.name;
      ++seen[std::string(dtype_name(view.dtype))];
    }
    return seen;
  }

  std::unique_ptr<Gguf> file_;
};

const std::map<std::string, int> kTensors{{"F32", 3},
                                          {"F16", 3},
                                          {"BF16", 2},
                                          {"Q4_0", 2},
                                          {"Q4_1", 2},
                                          {"Q8_0", 2},
                                          {"Q5_0", 2},
                                          {"Q5_1", 2},
                                          {"TQ1_0", 2},
                                          {"TQ2_0", 2},
                                          {"Q2_K", 1},
                                          {"Q3_K", 1},
                                          {"Q4_K", 1},
                                          {"Q5_K", 1},
                                          {"Q6_K", 1}};

TEST_F(GgufPackage, ValuesOfEveryTypeAgreeBitForBit) {
  for (const char* seed : {"1", "2"}) {
    ASSERT_NO_FATAL_FAILURE(make(seed));
    EXPECT_EQ(expect_same_values(), kTensors);
  }
}

TEST_F(GgufPackage, AFileWithAnotherAlignmentIsReadTheSame) {
  ASSERT_NO_FATAL_FAILURE(make("3", {"256"}));
  EXPECT_EQ(file_->integer("general.alignment"), 256);
  EXPECT_EQ(expect_same_values(), kTensors);
}

TEST_F(GgufPackage, MetadataOfEveryTypeIsWhatWasWritten) {
  ASSERT_NO_FATAL_FAILURE(make("4"));
  const json wanted = read_json(folder_ / "metadata");
  ASSERT_EQ(wanted.size(), 17u);
  for (const auto& [key, value] : wanted.items()) {
    const json found =
        std::visit([](const auto& held) { return json(held); }, file_->values().at(key));
    EXPECT_EQ(found, value) << key;
  }
}

}  // namespace
}  // namespace sterna::io
