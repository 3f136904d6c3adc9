#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "quant/encoded.h"

namespace sterna::model {

/// One STORAGE of sterna.json (sterna_export.h says what the words mean).
struct SternaEntry {
  enum class Storage { kPlain, kQ8_0, kCodes };
  enum class Zeros { kNone, kPacked, kF32 };

  Storage storage = Storage::kPlain;
  int64_t n = 0;  ///< of plain tensors the file says the shape
  int64_t k = 0;
  quant::Encoded scheme;  ///< of codes, without tensors
  Zeros zeros = Zeros::kNone;
  bool scales_below = false;
  std::string who;  ///< file and tensor

  /// @throws io::FileError  "<who> <what>" with the remedy
  [[noreturn]] void refuse(const std::string& what) const;
};

/// What sterna.json says.
struct SternaIndex {
  std::map<std::string, SternaEntry> tensors;
  std::string act_recipe;                ///< empty where activations are not rounded
  std::vector<std::string> act_tensors;  ///< F32, of its quantizers
};

/// @throws io::FileError  naming file, tensor and field
SternaIndex read_sterna_index(const std::filesystem::path& file);

}  // namespace sterna::model
