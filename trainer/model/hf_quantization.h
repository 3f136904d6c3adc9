#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/model/json_keys.h"

namespace sterna::model {

/// What "quantization_config" of a config.json says, of the packed layouts that are read.
struct HfQuantization {
  enum class Layout {
    kCompressedTensors,  ///< "compressed-tensors" in the format "pack-quantized"
    kGptq,               ///< "gptq", checkpoint formats "gptq" (v1) and "gptq_v2"
    kBitnet,             ///< "bitnet", offline
  };

  /// How a matrix is packed.
  struct Scheme {
    int64_t bits = 0;
    bool symmetric = true;
    int64_t group = 0;  ///< inputs per scale; 0: one a row
    /// Its inputs are rounded to int8, one scale for each token.
    bool rounds_inputs = false;
  };

  /// The scheme of a module's matrix.
  /// @throws recipes::UserError  where no group of the configuration is meant for it
  const Scheme& scheme_of(const std::string& module) const;

  Layout layout = Layout::kCompressedTensors;
  struct Group {
    std::vector<std::string> targets;  ///< empty: every module
    Scheme scheme;
  };
  std::vector<Group> groups;    ///< more than one for compressed-tensors alone
  bool zeros_less_one = false;  ///< GPTQ v1 stores zero points less one
  bool inverse_scale = false;   ///< BitNet's "bitlinear" stores 1 / scale
  std::filesystem::path file;
};

/// @param config  of a folder, with a "quantization_config"
/// @throws recipes::UserError  naming file and key, where the layout is none that is read
HfQuantization read_hf_quantization(const Keys& config, const std::filesystem::path& file);

/// "quant_method" of a folder's config.json; empty where there is none or it cannot be read.
std::string hf_quant_method(const std::filesystem::path& folder);

/// True for one whose layout is read: "compressed-tensors", "gptq", "bitnet".
bool is_hf_quant_method(const std::string& method);

/// The resolved `[act]` of a model whose blocks' linear layers all read int8, one scale for each
/// token: what CheckpointInfo's Activations say of it.
std::string int8_token_recipe();

}  // namespace sterna::model
