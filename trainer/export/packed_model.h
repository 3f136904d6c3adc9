#pragma once

#include <compare>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "trainer/export/format.h"
#include "trainer/export/integer_codes.h"
#include "trainer/export/weight_files.h"

namespace sterna::exporter {

/// Which linear layers of a model a layout packs, by their modules' paths, and how.
struct PackedModules {
  struct Module {
    int64_t bits = 0;
    bool symmetric = true;
    int64_t group = 0;  ///< inputs per scale; 0: one a row
    bool in_block = true;

    auto operator<=>(const Module&) const = default;
  };
  /// One scale a row is a group as well: in the groups' words where the others have such groups.
  void settle();

  std::map<std::string, Module> packed;
  std::map<std::string, int64_t> inputs;  ///< K of those
  std::vector<std::string> plain;         ///< of the blocks; the head and what lies around it too
  std::vector<std::string> plain_in_blocks;
  std::string activations;  ///< the resolved `[act]` of the recipe
};

/// A Hugging Face folder whose linear layers are packed as integers, with "quantization_config" in
/// config.json. Everything else keeps its bits where a small type holds them.
class PackedFormat : public Format {
 public:
  void write(const ExportSource& source, const std::filesystem::path& folder) const override;
  std::optional<std::string> why_not(const Prospect& prospect) const final;
  bool refuses_inexact() const final { return true; }
  bool holds_merged() const final { return false; }
  std::string dtype() const final;
  ReadBack read(const std::filesystem::path& folder) const final;
  bool recognises(const std::filesystem::path& folder) const final;

 protected:
  /// What a recipe may say of every such layout.
  struct CommonConfig {
    std::string dtype_name = "bf16";
    int64_t shard_mb = kShardMb;

    template <class Visitor>
    void fields(Visitor& v) {
      v("dtype",
        dtype_name,
        "of matrices that are not packed and that no smaller type holds exactly",
        recipes::OneOf{"bf16", "fp16", "fp32"});
      visit_shard_mb(v, shard_mb);
    }
  };
  /// @param method      "quant_method" of its files
  /// @param containers  bits of codes that it has, ascending
  PackedFormat(const CommonConfig& config, std::string method, std::vector<int64_t> containers);

  const std::vector<int64_t>& containers() const { return containers_; }

  /// True where the layout has packed heads.
  virtual bool packs_head() const { return false; }

  /// Why a matrix whose codes are integers has no place; here and below, what to do with it.
  virtual std::optional<std::string> why_not_matrix(const Prospect::Matrix& matrix) const = 0;

  /// Why all of them together have none, or the recipe's `[act]`.
  virtual std::optional<std::string> why_not_model(const PackedModules& model) const = 0;

  virtual void pack(const std::string& module,
                    const IntegerCodes& codes,
                    WeightFiles& files) const = 0;

  /// "quantization_config"
  virtual nlohmann::json settings(const PackedModules& model) const = 0;

 private:
  bool packs(const model::DecoderConfig& config, const std::string& name) const;
  std::optional<std::string> refusal(const model::DecoderConfig& config,
                                     const Prospect::Matrix& matrix) const;
  void note(const model::DecoderConfig& config,
            const Prospect::Matrix& matrix,
            PackedModules& modules) const;

  at::ScalarType dtype_;
  int64_t shard_mb_;
  std::string method_;
  std::vector<int64_t> containers_;
};

}  // namespace sterna::exporter
