#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace sterna::text {

/// What `tokenizer.ggml.pre` names.
struct GgufPre {
  nlohmann::json pre_tokenizer;  ///< as tokenizer.json would spell it
  bool ignore_merges = false;
  bool add_bos = false;  ///< where the file does not say
};

/// @throws recipes::UserError  for a name that is not known
GgufPre gguf_pre(const std::string& name);

}  // namespace sterna::text
