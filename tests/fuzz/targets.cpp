#include <algorithm>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tests/fuzz/target.h"

namespace sterna::tests::fuzz {

namespace fs = std::filesystem;

const std::vector<Target>& targets() {
  static const std::vector<Target> all = {chat_template_target(),
                                          config_target(),
                                          gguf_target(),
                                          manifest_target(),
                                          recipe_target(),
                                          safetensors_target(),
                                          sentencepiece_target(),
                                          shards_target(),
                                          token_cache_target(),
                                          tokenizer_target()};
  return all;
}

const Target& target(const std::string& name) {
  std::string known;
  for (const Target& each : targets()) {
    if (each.name == name)
      return each;
    known += " " + each.name;
  }
  throw std::invalid_argument("no target '" + name + "'; there are" + known);
}

std::string bytes_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in)
    throw std::runtime_error(file.string() + ": a seed is missing");
  return {std::istreambuf_iterator<char>(in), {}};
}

std::vector<std::string> all_bytes(const fs::path& folder, const std::string& ending) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().ends_with(ending))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<std::string> all;
  for (const fs::path& file : files)
    all.push_back(bytes_of(file));
  return all;
}

}  // namespace sterna::tests::fuzz
