#include "trainer/export/format.h"

namespace sterna::exporter {

// The list of formats. To add one: declare its function here, call it below.
void add_dense(recipes::Registry<Format>& registry);
void add_gguf(recipes::Registry<Format>& registry);
void add_sterna(recipes::Registry<Format>& registry);

const recipes::Registry<Format>& formats() {
  static const recipes::Registry<Format> registry = [] {
    recipes::Registry<Format> all("export_format");
    add_dense(all);
    add_gguf(all);
    add_sterna(all);
    return all;
  }();
  return registry;
}

}  // namespace sterna::exporter
