#include "trainer/io/ggml_types.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>

namespace sterna::io {

namespace {

struct GgmlType {
  uint32_t id;
  Dtype dtype;
};

constexpr std::array<GgmlType, 16> kRead = {{{0, Dtype::kF32},
                                             {1, Dtype::kF16},
                                             {2, Dtype::kQ4_0},
                                             {3, Dtype::kQ4_1},
                                             {6, Dtype::kQ5_0},
                                             {7, Dtype::kQ5_1},
                                             {8, Dtype::kQ8_0},
                                             {10, Dtype::kQ2_K},
                                             {11, Dtype::kQ3_K},
                                             {12, Dtype::kQ4_K},
                                             {13, Dtype::kQ5_K},
                                             {14, Dtype::kQ6_K},
                                             {30, Dtype::kBF16},
                                             {34, Dtype::kTQ1_0},
                                             {35, Dtype::kTQ2_0},
                                             {42, Dtype::kQ2_0}}};

/// Refused for what they are, not as damage.
const std::map<uint32_t, std::string>& unread() {
  static const std::map<uint32_t, std::string> types = {{9, "Q8_1"},
                                                        {15, "Q8_K"},
                                                        {16, "IQ2_XXS"},
                                                        {17, "IQ2_XS"},
                                                        {18, "IQ3_XXS"},
                                                        {19, "IQ1_S"},
                                                        {20, "IQ4_NL"},
                                                        {21, "IQ3_S"},
                                                        {22, "IQ2_S"},
                                                        {23, "IQ4_XS"},
                                                        {24, "I8"},
                                                        {25, "I16"},
                                                        {26, "I32"},
                                                        {27, "I64"},
                                                        {28, "F64"},
                                                        {29, "IQ1_M"},
                                                        {39, "MXFP4"},
                                                        {40, "NVFP4"},
                                                        {41, "Q1_0"}};
  return types;
}

}  // namespace

std::optional<Dtype> ggml_dtype(uint32_t id) {
  for (const GgmlType& type : kRead) {
    if (type.id == id)
      return type.dtype;
  }
  return std::nullopt;
}

uint32_t ggml_type_id(Dtype dtype) {
  const auto found = std::find_if(
      kRead.begin(), kRead.end(), [&](const GgmlType& type) { return type.dtype == dtype; });
  if (found == kRead.end())
    throw FileError("GGUF files have no type " + std::string(dtype_name(dtype)));
  return found->id;
}

std::string unread_ggml_type(uint32_t id) {
  const auto found = unread().find(id);
  return found == unread().end() ? "" : found->second;
}

std::string read_ggml_types() {
  std::string text;
  for (const GgmlType& type : kRead) {
    const bool last = type.id == kRead.back().id;
    text += (text.empty() ? "" : last ? " or " : ", ") + std::string(dtype_name(type.dtype));
  }
  return text;
}

}  // namespace sterna::io
