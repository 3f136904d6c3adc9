#include "trainer/run/batch.h"

#include "distill/logits.h"

namespace sterna::run {

Batch load_batch(const data::SampleSource& samples, int64_t first, int64_t count) {
  std::vector<data::Sample> rows;
  for (int64_t b = 0; b < count; ++b)
    rows.push_back(samples.at(first + b));
  const auto length = rows.empty() ? 0 : static_cast<int64_t>(rows[0].ids.size()) - 1;
  const bool packed = !rows.empty() && !rows[0].documents.empty();
  const Tensor tokens = at::empty({count, length}, at::kLong);
  const Tensor labels = at::empty({count, length}, at::kLong);
  const Tensor documents = packed ? at::empty({count, length}, at::kLong) : Tensor();
  auto* in = tokens.mutable_data_ptr<int64_t>();
  auto* out = labels.mutable_data_ptr<int64_t>();
  auto* document = packed ? documents.mutable_data_ptr<int64_t>() : nullptr;
  for (const data::Sample& row : rows) {
    TORCH_CHECK(static_cast<int64_t>(row.ids.size()) == length + 1 &&
                    static_cast<int64_t>(row.documents.size()) == (packed ? length : 0),
                "samples of one batch differ in length or in having documents");
    for (int64_t t = 0; t < length; ++t) {
      *in++ = row.ids[t];
      *out++ = row.loss[t] != 0 ? row.ids[t + 1] : distill::kIgnoreLabel;
      if (packed)
        *document++ = row.documents[t];
    }
  }
  return {Inputs(tokens, documents), labels, first};
}

SampleRange share_of_step(int64_t attempt, const TrainConfig& config, int64_t rank, int64_t ranks) {
  const int64_t samples = config.batch * config.accumulate;
  const int64_t begin = samples * rank / ranks;
  const int64_t end = samples * (rank + 1) / ranks;
  return {attempt * samples + begin, end - begin};
}

}  // namespace sterna::run
