#pragma once

#include <memory>
#include <string>

#include <nlohmann/json_fwd.hpp>

namespace sterna::text {

/// Rewrites a text before it is split (tokenizer.json's `normalizer`). Valid UTF-8 in and out.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual std::string apply(std::string text) const = 0;
};

/// @param spec  the JSON of `normalizer`; null gives null
/// @throws recipes::UserError  naming the component that is not supported
std::unique_ptr<Normalizer> make_normalizer(const nlohmann::json& spec);

}  // namespace sterna::text
