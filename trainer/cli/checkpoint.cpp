#include "trainer/cli/checkpoint.h"

#include <ostream>

#include "trainer/model/activations.h"

namespace sterna::cli {

model::CheckpointInfo open_checkpoint(const std::filesystem::path& path, Streams streams) {
  model::CheckpointInfo info = model::inspect(path);
  for (const std::string& remark : info.remarks)
    streams.err << remark << "\n";
  return info;
}

model::Decoder load_ready(const model::CheckpointInfo& info, at::ScalarType dtype) {
  model::Decoder decoder = model::load_decoder(info, dtype);
  model::require_ready(decoder);
  return decoder;
}

std::optional<quant::ActPlan> read_activations(recipes::Recipe& recipe) {
  if (!recipe.root().has("act"))
    return std::nullopt;
  return quant::ActPlan::read(recipe.section("act"));
}

}  // namespace sterna::cli
