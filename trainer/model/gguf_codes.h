#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "quant/encoded.h"
#include "trainer/io/gguf.h"
#include "trainer/model/load.h"

namespace sterna::model {

/// How codes of ours lie in the blocks of a GGUF tensor. An element stands for the integer
/// n = scale[k] q - min[k] of its block (io::GgmlBlock; m = d), its value is n d, and n counts
/// steps of the grid: code - offset, code - zero point, or a level.
struct GgufScheme {
  quant::Encoded grid;     ///< without tensors, but levels
  bool one_scale = false;  ///< for the whole matrix
  bool zeros = false;      ///< mins are zero points, less the smallest code
  bool halves = false;     ///< n counts half steps
  bool negated = false;    ///< blocks hold -n and the negative scale
};

/// The metadata key in which an export of ours says the schemes, a JSON object by tensor name, so
/// that codes come back and not only values. Other programs' files have none.
inline constexpr const char* kGgufSchemes = "sterna.codes";
/// Array of strings: which tensors have a larger type than their grid asks for, and why.
inline constexpr const char* kGgufFallbacks = "sterna.fallbacks";

std::string gguf_schemes_text(const std::map<std::string, GgufScheme>& schemes);

/// By GGUF name. @throws io::FileError  where the text is not what gguf_schemes_text() writes
std::map<std::string, GgufScheme> read_gguf_schemes(const io::Gguf& file);

/// Codes, scales and zero points of a matrix, rows as in the file.
/// @throws io::FileError  where its blocks do not hold such codes
quant::Encoded read_gguf_codes(const io::TensorView& view,
                               const GgufScheme& scheme,
                               const std::filesystem::path& path);

/// All of an export's file: values as its blocks give them, with the codes beside them.
struct GgufExport {
  Weights weights;
  std::map<std::string, std::string> storage;  ///< "codes" or the type's name, by Hugging Face name
};
GgufExport open_gguf_export(const std::filesystem::path& file);

}  // namespace sterna::model
