#pragma once

#include <memory>
#include <string>
#include <vector>

#include "quant/act_quantizer.h"

namespace sterna::quant {

/// What of a model a site is.
enum class ActKind {
  kInput,  ///< of a linear layer of the blocks, "model.layers.3.mlp.down_proj"
  kKey,    ///< keys before RoPE and before they are cached, "model.layers.3.key"
  kValue,  ///< values before they are cached, "model.layers.3.value"
};

/// The recipe's sections that an ActPlan reads, for `sterna list`.
std::vector<recipes::ComponentInfo> act_sections();

/// Which activations are rounded, and how: the recipe's `[act]`.
///
///   [act]
///   input = { name = "per_token", bits = 8 }   # "none", the default everywhere, rounds nothing
///   key = { name = "per_token", bits = 4 }
///   value = { name = "per_token", bits = 4 }
///   kv_scope = "head"                          # a token is one head's vector; "token": all heads'
///   [[act.rule]]                               # the first rule that matches wins
///   match = "*.down_proj"                      # globs sites: modules, and "...key", "...value"
///   quantizer = "none"
class ActPlan {
 public:
  static ActPlan read(recipes::Section act);

  /// True where no site at all can be rounded.
  bool empty() const;

  /// True where keys and values of all heads share a token's scale (LLM-QAT).
  bool heads_together() const { return heads_together_; }

  /// @throws recipes::RecipeError  for a rule that matches none of `sites`, with the nearest
  void require_matches(const std::vector<std::string>& sites) const;

  /// A new quantizer for that site, or null where it computes in full precision.
  std::unique_ptr<ActQuantizer> build(const std::string& site, ActKind kind) const;

  /// "none", or "per_token 8" with the bits.
  std::string scheme_of(const std::string& site, ActKind kind) const;

 private:
  struct Entry {
    std::string match;   // empty for a default
    std::string where;   // "recipe.toml:7:1: 'act.rule[0].match'"
    std::string scheme;  // "none": make is empty
    recipes::Registry<ActQuantizer>::Maker make;
  };
  static Entry read_entry(const recipes::Section& section, const char* key, const char* fallback);
  const Entry& entry_of(const std::string& site, ActKind kind) const;

  std::vector<Entry> rules_;
  Entry input_, key_, value_;
  bool heads_together_ = false;
};

}  // namespace sterna::quant
