#pragma once

#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "quant/quantizer.h"
#include "tests/quant/quantizer_support.h"

namespace sterna::quant {

/// A quantizer and the fields that a recipe gives it.
struct Configured {
  std::string name;
  std::string fields;
};

inline void PrintTo(const Configured& c, std::ostream* out) {
  *out << c.name << " {" << c.fields << "}";
}

inline const recipes::Field* field(const recipes::ComponentInfo& component,
                                   const std::string& name) {
  for (const recipes::Field& f : component.fields)
    if (f.name == name)
      return &f;
  return nullptr;
}

/// "0 to 2" -> {"0", "2"}; "a | b" -> {"\"a\"", "\"b\""}.
inline std::vector<std::string> values(const recipes::Field& f) {
  if (f.type == "boolean")
    return {"false", "true"};
  std::vector<std::string> result;
  const std::string between = f.type == "text" ? " | " : " to ";
  for (size_t at = 0; at <= f.allowed.size() && !f.allowed.empty();) {
    const size_t end = std::min(f.allowed.find(between, at), f.allowed.size());
    const std::string value = f.allowed.substr(at, end - at);
    result.push_back(f.type == "text" ? "\"" + value + "\"" : value);
    at = end + between.size();
  }
  return result;
}

/// Every registered quantizer with its defaults, with both ends or every choice of each of its
/// fields, and with each kind of group and scale.
inline std::vector<Configured> configurations() {
  std::vector<Configured> result;
  for (const recipes::ComponentInfo& component : quantizers().all()) {
    result.push_back({component.name, ""});
    for (const recipes::Field& f : component.fields)
      if (f.name != "group")
        for (const std::string& value : values(f))
          result.push_back({component.name, f.name + " = " + value});
    if (field(component, "group") == nullptr)
      continue;
    const recipes::Field* init = field(component, "init");
    for (const char* group : {"0", "-1", "16", "32"})
      for (const char* dtype : {"bf16", "fp16", "fp32"})
        for (const std::string& start :
             init != nullptr ? values(*init) : std::vector<std::string>{""})
          result.push_back({component.name,
                            std::string("group = ") + group + ", scale_dtype = \"" + dtype + "\"" +
                                (start.empty() ? "" : ", init = " + start)});
  }
  return result;
}

class QuantizerContract : public testing::TestWithParam<Configured> {
 protected:
  std::unique_ptr<Quantizer> create() const { return make(GetParam().name, GetParam().fields); }

  /// [8, 192] with an all-zero row.
  static Tensor weight(uint64_t seed = 7) {
    Tensor w = heavy({8, 192}, seed);
    w[3].zero_();
    return w;
  }
};

/// Of a test of one configuration.
inline std::string test_name(const testing::TestParamInfo<Configured>& info) {
  std::string text = info.param.name + "_" + std::to_string(info.index) + "_" + info.param.fields;
  for (char& c : text)
    if (!std::isalnum(static_cast<unsigned char>(c)))
      c = '_';
  return text;
}

}  // namespace sterna::quant
