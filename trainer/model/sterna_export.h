#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "trainer/model/load.h"

namespace sterna::model {

// Layout "sterna", format 1: the packed weights as training made them, nothing re-quantized.
//
//   sterna.json          {"format": 1, "layout": "sterna", "tensors": {NAME: STORAGE, ...}, ...}
//   sterna.safetensors   the tensors below
//   optional in sterna.json: "activations": {"recipe": TOML, "tensors": [NAME, ...]}, the resolved
//       [act] of the recipe and the F32 tensors that its quantizers learned
//   config.json, generation_config.json, tokenizer files: as in a Hugging Face folder
//   SHA256SUMS           hash of every other file (sha256sum -c reads it); certificate.json apart
//
// NAME is a Hugging Face tensor name; every tensor of the model is listed. STORAGE is one of
//   {"storage": "plain"}   NAME in BF16, F16 or F32
//   {"storage": "q8_0", "shape": [N, K]}   NAME.q8_0 U8 [N, K / 32 * 34]: ggml's blocks of 32,
//       IEEE half d and 32 signed bytes; value = q * d
//   {"storage": "codes", "shape": [N, K], "grid": "affine" | "levels", "bits": b, "code_min": c,
//    "group": g, "offset": z, "scale_dtype": "BF16", "zeros": "none" | "packed" | "F32"}
//       NAME.codes   U8 [N, ceil(K b / 8)]: little-endian bit stream a row of code - c
//       (quant/pack.h) NAME.scales  scale_dtype [N, K / g], or [1, 1] where one serves all
//       NAME.zeros   the shape of scales: F32, or U8 packed like codes where they are codes
//       NAME.levels  F32 [L], or [R, L] where zeros choose a group's row
//       NAME.scales_below  as scales, where STORAGE says "scales_below": true; of levels below zero
//       value = (code - zero) * scale, or levels[code - c] * scale; fp32, one product

/// True where the folder holds a sterna.json.
bool is_sterna_export(const std::filesystem::path& path);

/// What an export holds, and how each tensor is stored there.
struct SternaExport {
  Weights weights;                             ///< fp32, codes beside those that have some
  std::map<std::string, std::string> storage;  ///< "codes", "q8_0", "BF16", "F16" or "F32" by name
};

/// @throws io::FileError  naming file, tensor and field
SternaExport open_sterna_export(const std::filesystem::path& path);

}  // namespace sterna::model
