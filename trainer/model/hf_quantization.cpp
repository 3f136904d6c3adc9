// "quantization_config" as compressed-tensors, GPTQ and BitNet files have it. What changes the
// weights and is not understood is refused by key.
#include "trainer/model/hf_quantization.h"

#include <algorithm>

#include "recipes/glob.h"
#include "trainer/io/json.h"
#include "trainer/model/activations.h"

namespace sterna::model {
namespace {

using nlohmann::json;
using Layout = HfQuantization::Layout;
using Scheme = HfQuantization::Scheme;

void require_text(const Keys& keys, const std::string& key, const std::string& expected) {
  const std::string found = keys.text_or(key, expected);
  if (found != expected)
    keys.refuse(key, "'" + found + "' is not read; '" + expected + "' is");
}

void require_none(const Keys& keys, const std::string& key) {
  if (keys.has(key))
    keys.refuse(key, "is not read; expected null");
}

int64_t bits_among(const Keys& keys, const char* key, const std::vector<int64_t>& known) {
  const int64_t bits = keys.integer(key);
  std::string list;
  for (const int64_t each : known)
    list += (list.empty() ? "" : ", ") + std::to_string(each);
  if (std::find(known.begin(), known.end(), bits) == known.end())
    keys.refuse(key, "expected one of " + list + ", found " + std::to_string(bits));
  return bits;
}

bool rounds_inputs(const Keys& group) {
  if (!group.has("input_activations"))
    return false;
  const Keys inputs = group.object("input_activations");
  const bool known =
      inputs.integer_or("num_bits", 8) == 8 && inputs.text_or("type", "int") == "int" &&
      inputs.boolean_or("symmetric", true) && inputs.text_or("strategy", "") == "token" &&
      inputs.boolean_or("dynamic", false);
  if (!known)
    group.refuse("input_activations", "expected symmetric int8, dynamic, one scale for each token");
  return true;
}

Scheme ct_scheme(const Keys& group) {
  const Keys weights = group.object("weights");
  require_text(weights, "type", "int");
  Scheme scheme;
  scheme.bits = bits_among(weights, "num_bits", {2, 4, 8});
  scheme.symmetric = weights.boolean_or("symmetric", true);
  const std::string strategy = weights.text_or("strategy", "channel");
  if (strategy != "channel" && strategy != "group")
    weights.refuse("strategy", "'" + strategy + "' is not read; 'channel' and 'group' are");
  if (strategy == "group" && (scheme.group = weights.integer("group_size")) < 1)
    weights.refuse("group_size", "expected a positive number of inputs");
  require_none(weights, "actorder");
  scheme.rounds_inputs = rounds_inputs(group);
  require_none(group, "output_activations");
  return scheme;
}

HfQuantization read_ct(const Keys& keys) {
  require_text(keys, "format", "pack-quantized");
  require_none(keys, "kv_cache_scheme");
  HfQuantization q;
  const Keys groups = keys.object("config_groups");
  for (const std::string& name : groups.names()) {
    const Keys group = groups.object(name);
    require_text(group, "format", "pack-quantized");
    q.groups.push_back({group.texts("targets"), ct_scheme(group)});
  }
  if (q.groups.empty())
    keys.refuse("config_groups", "expected at least one group");
  return q;
}

HfQuantization read_gptq(const Keys& keys) {
  HfQuantization q;
  q.layout = Layout::kGptq;
  Scheme scheme;
  scheme.bits = bits_among(keys, "bits", {2, 3, 4, 8});
  scheme.symmetric = keys.boolean_or("sym", true);
  const int64_t group = keys.integer_or("group_size", -1);
  if (group != -1 && group < 1)
    keys.refuse("group_size", "expected a positive number of inputs, or -1 for a row");
  scheme.group = std::max<int64_t>(group, 0);
  const std::string format = keys.text_or("checkpoint_format", "gptq");
  if (format != "gptq" && format != "gptq_v2")
    keys.refuse("checkpoint_format", "'" + format + "' is not read; 'gptq' and 'gptq_v2' are");
  q.zeros_less_one = format == "gptq";
  require_text(keys, "pack_dtype", "int32");
  q.groups.push_back({{}, scheme});
  return q;
}

HfQuantization read_bitnet(const Keys& keys) {
  require_text(keys, "quantization_mode", "offline");
  if (keys.boolean_or("use_rms_norm", false))
    keys.refuse("use_rms_norm", "norms in front of each linear layer are not supported");
  HfQuantization q;
  q.layout = Layout::kBitnet;
  const std::string linear = keys.text_or("linear_class", "bitlinear");
  if (linear != "bitlinear" && linear != "autobitlinear")
    keys.refuse("linear_class", "'" + linear + "' is not read; 'bitlinear', 'autobitlinear' are");
  q.inverse_scale = linear == "bitlinear";
  q.groups.push_back({{}, {2, true, 0, true}});
  return q;
}

/// "re:" patterns as people write them: ".*", literal text, escaped dots, anchors.
bool pattern_matches(const std::string& pattern, const std::string& module, const Scheme*& found) {
  std::string glob;
  for (size_t i = pattern.starts_with("^") ? 1 : 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '.' && i + 1 < pattern.size() && pattern[i + 1] == '*') {
      glob += '*';
      ++i;
    } else if (c == '\\' && i + 1 < pattern.size() && pattern[i + 1] == '.') {
      glob += '.';
      ++i;
    } else if (c == '$' && i + 1 == pattern.size()) {
      return recipes::glob_matches(glob, module);
    } else if (std::string_view("[](){}|+?^$*\\").find(c) != std::string_view::npos) {
      found = nullptr;
      return false;
    } else {
      glob += c;
    }
  }
  return recipes::glob_matches(glob + "*", module);
}

}  // namespace

const Scheme& HfQuantization::scheme_of(const std::string& module) const {
  const std::string where = file.string() + ": 'config_groups': ";
  const Scheme* of_class = nullptr;
  for (const Group& group : groups) {
    if (group.targets.empty())
      return group.scheme;
    for (const std::string& target : group.targets) {
      const Scheme* scheme = &group.scheme;
      if (target == module ||
          (target.starts_with("re:") && pattern_matches(target.substr(3), module, scheme)))
        return group.scheme;
      if (scheme == nullptr)
        throw recipes::UserError(where + "the pattern '" + target +
                                 "' is not understood; expected names, with .* for anything");
      if (target == "Linear" && of_class == nullptr)
        of_class = &group.scheme;
    }
  }
  if (of_class == nullptr)
    throw recipes::UserError(where + "none has a target for '" + module +
                             "', whose weight is packed; expected its name or \"Linear\"");
  return *of_class;
}

bool is_hf_quant_method(const std::string& method) {
  return method == "compressed-tensors" || method == "gptq" || method == "bitnet";
}

HfQuantization read_hf_quantization(const Keys& config, const std::filesystem::path& file) {
  const char* key = "quantization_config";
  const std::string method =
      config.is_object(key) ? config.object(key).text_or("quant_method", "") : "";
  HfQuantization q;
  if (method == "compressed-tensors")
    q = read_ct(config.object(key));
  else if (method == "gptq")
    q = read_gptq(config.object(key));
  else if (method == "bitnet")
    q = read_bitnet(config.object(key));
  else
    config.refuse(key,
                  "the file is already quantized in a format that is not read" +
                      (method.empty() ? "" : " ('" + method + "')") +
                      "; compressed-tensors, gptq and bitnet are, else give the original");
  q.file = file;
  return q;
}

std::string hf_quant_method(const std::filesystem::path& folder) {
  try {
    const json config = io::read_json(folder / "config.json");
    return config.at("quantization_config").at("quant_method").get<std::string>();
  } catch (const recipes::UserError&) {
    return "";
  } catch (const json::exception&) {
    return "";
  }
}

std::string int8_token_recipe() {
  return act_recipe("[act]\ninput = { name = \"per_token\", bits = 8 }\n", "int8 inputs");
}

}  // namespace sterna::model
