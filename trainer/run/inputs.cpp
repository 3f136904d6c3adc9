#include "trainer/run/inputs.h"

#include "kvcache/mask.h"

namespace sterna::run {

Inputs::Inputs(Tensor given_tokens, Tensor given_documents)
    : tokens(std::move(given_tokens)), documents(std::move(given_documents)) {
  if (documents.defined())
    positions = kvcache::positions_in(documents);
  else if (tokens.defined())
    positions = at::arange(tokens.size(1), tokens.options());
}

Inputs Inputs::to(at::Device device) const {
  Inputs there = *this;
  for (Tensor* each : {&there.tokens, &there.positions, &there.documents})
    if (each->defined())
      *each = each->to(device);
  return there;
}

std::unique_ptr<kvcache::Cache> Inputs::cache(const model::Decoder& decoder) const {
  return kvcache::make_stateless(decoder.attention(), documents);
}

}  // namespace sterna::run
