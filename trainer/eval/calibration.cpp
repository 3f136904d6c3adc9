#include "trainer/eval/calibration.h"

#include <algorithm>

#include "trainer/data/eval_text.h"
#include "trainer/model/same_tokens.h"

namespace sterna::eval {

using recipes::UserError;

at::Tensor read_calibration(const Calibration& wanted, const model::CheckpointInfo& info) {
  const auto tokenizer = model::open_tokenizer(info);
  data::EvalTextOptions options;
  options.text = {wanted.text};
  const std::vector<int32_t> ids = data::read_eval_ids(options, *tokenizer);
  const std::string length =
      std::string(wanted.length_key) + " = " + std::to_string(wanted.seq_len);
  const int64_t samples =
      std::min<int64_t>(wanted.samples, static_cast<int64_t>(ids.size()) / wanted.seq_len);
  if (samples == 0)
    throw UserError(wanted.text.string() + ": " + std::to_string(ids.size()) +
                    " tokens are less than one sequence of " + length + "; give a longer text");
  if (wanted.seq_len > info.config.max_positions)
    throw UserError(length + ": the model is made for at most " +
                    std::to_string(info.config.max_positions) + " positions");
  const auto used = static_cast<size_t>(samples * wanted.seq_len);
  return at::tensor(at::ArrayRef<int32_t>(ids.data(), used), at::kLong)
      .view({samples, wanted.seq_len});
}

}  // namespace sterna::eval
