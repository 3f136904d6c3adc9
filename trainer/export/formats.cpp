#include "trainer/export/format.h"

namespace sterna::exporter {

// The list of formats. To add one: declare its function here, call it below.
void add_compressed_tensors(recipes::Registry<Format>& registry);
void add_dense(recipes::Registry<Format>& registry);
void add_gguf(recipes::Registry<Format>& registry);
void add_gptq(recipes::Registry<Format>& registry);
void add_hf_bitnet(recipes::Registry<Format>& registry);
void add_sterna(recipes::Registry<Format>& registry);

std::optional<std::string> Format::why_not(const Prospect& prospect) const {
  if (prospect.merged && !holds_merged())
    return "[adapter]: " + std::string(kNoMerged);
  if (!prospect.activations.empty() && activations() == KeepsActivations::kRefused)
    return "[act]: " + std::string(kNoActivations);
  return std::nullopt;
}

const recipes::Registry<Format>& formats() {
  static const recipes::Registry<Format> registry = [] {
    recipes::Registry<Format> all("export_format");
    add_compressed_tensors(all);
    add_dense(all);
    add_gguf(all);
    add_gptq(all);
    add_hf_bitnet(all);
    add_sterna(all);
    return all;
  }();
  return registry;
}

}  // namespace sterna::exporter
