#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace sterna::text {

/// Turns the pieces of a sequence into its text, in steps (tokenizer.json's `decoder`).
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual std::vector<std::string> apply(std::vector<std::string> pieces) const = 0;
};

/// @param spec  the JSON of `decoder`; null joins the pieces with spaces, as Hugging Face does
/// @throws recipes::UserError  naming the component that is not supported
std::unique_ptr<Decoder> make_decoder(const nlohmann::json& spec);

}  // namespace sterna::text
