// config.json of each family, beside the weights of one of them.
#include "trainer/model/config.h"

#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"
#include "tests/support/paths.h"
#include "trainer/model/load.h"

namespace sterna::tests::fuzz {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> seeds() {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(source_dir() / "tests/golden"))
    if (fs::exists(entry.path() / "config.json"))
      files.push_back(entry.path() / "config.json");
  std::sort(files.begin(), files.end());  // the mutator counts them: the same on every machine
  std::vector<std::string> all;
  for (const fs::path& file : files)
    all.push_back(bytes_of(file));
  return all;
}

bool feed(const std::string& input) {
  static MemoryFolder folder("config.json");
  const fs::path weights = folder.path() / "model.safetensors";
  if (!fs::exists(weights))
    fs::copy(source_dir() / "tests/golden/tiny_llama/model.safetensors", weights);
  folder.hold(input);
  bool accepted = false;
  reads([&] {
    const model::CheckpointInfo info = model::inspect(folder.path());
    accepted = info.config.parameters() > 0 && info.config.multiplies_per_token() > 0;
    model::read_weights(info);
  });
  return accepted;
}

}  // namespace

Target config_target() {
  return {"config", seeds, feed};
}

}  // namespace sterna::tests::fuzz
