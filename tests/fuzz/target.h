#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "recipes/user_error.h"

namespace sterna::tests::fuzz {

/// A parser of files that come from elsewhere, or that a crash or a disk may have damaged.
struct Target {
  std::string name;
  /// Small inputs that are sound; made in code or taken from tests/golden and recipes.
  std::vector<std::string> (*seeds)();
  /// Opens one input and reads all of it. Throws only for what must not happen.
  /// @return  whether it was accepted; else it was refused with a recipes::UserError
  bool (*feed)(const std::string& input);
};

/// All of them.
const std::vector<Target>& targets();

/// The one of that name. @throws std::invalid_argument  naming those that there are
const Target& target(const std::string& name);

Target chat_template_target();
Target config_target();
Target gguf_target();
Target manifest_target();
Target recipe_target();
Target safetensors_target();
Target sentencepiece_target();
Target shards_target();
Target token_cache_target();
Target tokenizer_target();

/// @return  false where `action` throws what a user is told
template <class Action>
bool reads(const Action& action) {
  try {
    action();
    return true;
  } catch (const recipes::UserError&) {
    return false;
  }
}

/// The whole of a file.
std::string bytes_of(const std::filesystem::path& file);

/// The files of a folder whose name ends so, in order.
std::vector<std::string> all_bytes(const std::filesystem::path& folder, const std::string& ending);

}  // namespace sterna::tests::fuzz
