// What `verify --expected` refuses instead of passing or failing on it.
#include "trainer/eval/expected.h"

#include <cmath>
#include <filesystem>

#include <gtest/gtest.h>

#include "recipes/user_error.h"
#include "tests/support/paths.h"
#include "tests/support/temp_folder.h"
#include "trainer/io/safetensors.h"
#include "trainer/model/load.h"

namespace sterna::eval {
namespace {

struct Named {
  std::string name;
  at::Tensor values;
};

class Expected : public testing::Test {
 protected:
  Expected()
      : decoder_(model::load_decoder(
            model::inspect(tests::source_dir() / "tests" / "golden" / "tiny_llama"), at::kFloat)) {}

  std::vector<TensorError> compare(const std::vector<Named>& tensors) const {
    const tests::TempFolder folder;
    const std::filesystem::path file = folder / "expected.safetensors";
    std::vector<io::TensorToWrite> writes;
    for (const Named& each : tensors)
      writes.push_back({each.name,
                        each.values.scalar_type() == at::kLong ? io::Dtype::kI64 : io::Dtype::kF32,
                        each.values.sizes().vec(),
                        {static_cast<const std::byte*>(each.values.const_data_ptr()),
                         static_cast<size_t>(each.values.nbytes())}});
    io::write_safetensors(file, std::move(writes));
    return compare_with_expected(decoder_, *io::open_safetensors(file));
  }

  void expect_refused(const std::vector<Named>& tensors, const std::string& part) const {
    try {
      compare(tensors);
      FAIL() << "accepted";
    } catch (const recipes::UserError& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }

  model::Decoder decoder_;
  at::Tensor ids_ = at::arange(6, at::kLong).view({2, 3});
};

TEST_F(Expected, AFileWithNothingToCompareIsNoProof) {
  expect_refused({{"input_ids", ids_}}, "nothing to compare");
  expect_refused({{"input_ids", at::empty({1, 0}, at::kLong)}}, "at least one id");
  expect_refused({{"input_ids", ids_}, {"topk_indices", at::zeros({2, 3, 1}, at::kLong)}},
                 "topk_values");
}

TEST_F(Expected, IdsOutsideTheVocabularyAreNamedWithItsSize) {
  expect_refused({{"input_ids", ids_ + 60}, {"logits", at::zeros({2, 3, 64})}}, "from 0 to 63");
  expect_refused({{"input_ids", ids_ - 1}, {"logits", at::zeros({2, 3, 64})}}, "found -1 to 4");
}

TEST_F(Expected, ANanCountsAsInfinitelyFar) {
  const at::Tensor logits = at::full({2, 3, 64}, NAN);
  EXPECT_TRUE(std::isinf(compare({{"input_ids", ids_}, {"logits", logits}}).at(0).max));
}

}  // namespace
}  // namespace sterna::eval
