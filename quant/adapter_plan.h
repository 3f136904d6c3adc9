#pragma once

#include <memory>
#include <string>
#include <vector>

#include "quant/adapter.h"

namespace sterna::quant {

/// The recipe's section that an AdapterPlan reads, for `sterna list`.
recipes::ComponentInfo adapter_section();

/// Which linear layers get an adapter: the recipe's `[adapter]`. Where there is one, nothing but
/// adapters is trained.
///
///   [adapter]
///   method = { name = "lora", rank = 16 }
///   match = ["*_proj"]                     # globs module paths; default: all linears of blocks
class AdapterPlan {
 public:
  /// No `method`, or "none", means no adapters.
  static AdapterPlan read(recipes::Section adapter);

  bool empty() const { return !make_; }

  /// @throws recipes::RecipeError  for a pattern that matches none of `modules`, with the nearest
  void require_matches(const std::vector<std::string>& modules) const;

  /// A new adapter for that layer, not attached yet, or null where it gets none.
  /// @param module  Hugging Face path without ".weight"
  std::unique_ptr<Adapter> build(const std::string& module) const;

 private:
  std::vector<std::string> match_;
  std::string where_;  // "recipe.toml:7:1: 'adapter.match'"
  recipes::Registry<Adapter>::Maker make_;
};

}  // namespace sterna::quant
