#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sterna::model {

/// What a family's Hugging Face checkpoints call the modules of a decoder; empty: it has none.
struct FamilyNames {
  std::string_view prefix;  ///< of every name but the head's; old files lack it
  std::string_view embedding;
  std::string_view positions;  ///< the table of learned positions
  std::string_view project_in;
  std::string_view project_out;
  std::string_view norm;   ///< the last one
  std::string_view block;  ///< followed by the number, a dot and one of those below
  std::string_view attention_norm;
  std::string_view q;
  std::string_view k;
  std::string_view v;
  std::string_view qkv;  ///< one matrix of the three, q's rows first; q, k, v are empty then
  std::string_view q_norm;
  std::string_view k_norm;
  std::string_view o;
  std::string_view mlp_norm;
  std::string_view gate;
  std::string_view up;
  std::string_view down;
  /// Matrices of the blocks are stored [in, out] (Conv1D). The program has all matrices as
  /// [out, in]; reading and writing such a folder turns them.
  bool conv1d = false;
  /// Ends of names that hold no parameters (masks, RoPE's frequencies).
  std::vector<std::string_view> buffers;
};

/// True for a family that read_hf_config knows.
bool is_family(const std::string& family);

/// @throws c10::Error  where is_family() is false
const FamilyNames& names_of(const std::string& family);

/// True for a tensor that a Hugging Face folder of that family holds transposed.
bool stored_transposed(const std::string& family, const std::string& name);

/// "model.layers.3."
std::string block_path(const FamilyNames& names, int64_t layer);

}  // namespace sterna::model
