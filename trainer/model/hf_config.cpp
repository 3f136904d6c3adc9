#include <nlohmann/json.hpp>

#include "trainer/io/json.h"
#include "trainer/model/check_config.h"
#include "trainer/model/config.h"

namespace sterna::model {
namespace {

using recipes::UserError;

// Typed reads of one JSON object whose errors name file and key.
class Keys {
 public:
  Keys(const nlohmann::json& object, std::filesystem::path file)
      : object_(object), file_(std::move(file)) {
    if (!object.is_object())
      throw UserError(file_.string() + ": expected a JSON object, found " + object.type_name());
  }

  // A key that is null counts as absent, as it does for transformers.
  bool has(const std::string& key) const {
    return object_.contains(key) && !object_.at(key).is_null();
  }

  int64_t integer(const std::string& key) const {
    if (!at(key).is_number_integer())
      wrong(key, "an integer");
    return at(key).get<int64_t>();
  }
  int64_t integer_or(const std::string& key, int64_t fallback) const {
    return has(key) ? integer(key) : fallback;
  }

  double number(const std::string& key) const {
    if (!at(key).is_number())
      wrong(key, "a number");
    return at(key).get<double>();
  }
  double number_or(const std::string& key, double fallback) const {
    return has(key) ? number(key) : fallback;
  }

  bool boolean_or(const std::string& key, bool fallback) const {
    if (!has(key))
      return fallback;
    if (!at(key).is_boolean())
      wrong(key, "true or false");
    return at(key).get<bool>();
  }

  std::string text_or(const std::string& key, const std::string& fallback) const {
    if (!has(key))
      return fallback;
    if (!at(key).is_string())
      wrong(key, "a string");
    return at(key).get<std::string>();
  }

  // One id or a list of ids.
  std::vector<int64_t> ids(const std::string& key) const {
    std::vector<int64_t> found;
    if (!has(key))
      return found;
    const auto list = at(key).is_array() ? at(key) : nlohmann::json::array({at(key)});
    for (const auto& id : list) {
      if (!id.is_number_integer())
        wrong(key, "an id or a list of ids");
      found.push_back(id.get<int64_t>());
    }
    return found;
  }

  Keys object(const std::string& key) const { return Keys(at(key), file_); }

  [[noreturn]] void refuse(const std::string& key, const std::string& why) const {
    throw UserError(file_.string() + ": '" + key + "': " + why);
  }

 private:
  const nlohmann::json& at(const std::string& key) const {
    if (!has(key))
      refuse(key, "missing; a decoder cannot be built without it");
    return object_.at(key);
  }
  [[noreturn]] void wrong(const std::string& key, const std::string& expected) const {
    refuse(key, "expected " + expected + ", found " + object_.at(key).dump().substr(0, 60));
  }

  const nlohmann::json& object_;
  std::filesystem::path file_;
};

kvcache::RopeConfig read_rope(const Keys& keys, const DecoderConfig& config) {
  kvcache::RopeConfig rope;
  rope.head_dim = config.head_dim;
  rope.theta = keys.number_or("rope_theta", 10000.0);
  // transformers 5 moved both into rope_parameters; 4 has rope_theta beside rope_scaling.
  const std::string key = keys.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!keys.has(key))
    return rope;
  const Keys scaling = keys.object(key);
  rope.theta = scaling.number_or("rope_theta", rope.theta);
  rope.type = scaling.text_or("rope_type", scaling.text_or("type", "default"));
  if (rope.type != "default" && rope.type != "linear" && rope.type != "llama3")
    scaling.refuse(key,
                   "rope type '" + rope.type + "' is not supported; default, linear, llama3 are");
  // A scaled model without its scale would load and be wrong: there are no defaults.
  if (rope.type != "default")
    rope.factor = scaling.number("factor");
  if (rope.type == "llama3") {
    rope.low_freq_factor = scaling.number("low_freq_factor");
    rope.high_freq_factor = scaling.number("high_freq_factor");
    rope.original_max_positions = scaling.integer("original_max_position_embeddings");
    if (rope.high_freq_factor <= rope.low_freq_factor)
      scaling.refuse(key, "high_freq_factor must exceed low_freq_factor");
  }
  if (scaling.number_or("partial_rotary_factor", keys.number_or("partial_rotary_factor", 1.0)) != 1)
    scaling.refuse("partial_rotary_factor", "only 1 is supported");
  return rope;
}

void check_supported(const Keys& keys) {
  const std::string type = keys.text_or("model_type", "");
  if (type != "llama")
    keys.refuse("model_type", "'" + type + "' is not supported yet; llama is");
  const std::string activation = keys.text_or("hidden_act", "silu");
  if (activation != "silu" && activation != "swish")
    keys.refuse("hidden_act", "'" + activation + "' is not supported; silu is");
  if (keys.has("quantization_config"))
    keys.refuse("quantization_config",
                "the file is already quantized in a format that is not read; give the original");
}

}  // namespace

DecoderConfig read_hf_config(const std::filesystem::path& folder) {
  const auto file = folder / "config.json";
  const nlohmann::json json = io::read_json(file);
  const Keys keys(json, file);
  check_supported(keys);
  DecoderConfig config;
  config.family = "llama";
  config.vocab = keys.integer("vocab_size");
  config.width = keys.integer("hidden_size");
  config.inner = keys.integer("intermediate_size");
  config.layers = keys.integer("num_hidden_layers");
  config.heads = keys.integer("num_attention_heads");
  config.kv_heads = keys.integer_or("num_key_value_heads", config.heads);
  if (!keys.has("head_dim") && (config.heads <= 0 || config.width % config.heads != 0))
    keys.refuse("num_attention_heads", "does not divide hidden_size, and there is no head_dim");
  config.head_dim = keys.has("head_dim") ? keys.integer("head_dim") : config.width / config.heads;
  config.max_positions = keys.integer_or("max_position_embeddings", 2048);
  config.norm_eps = keys.number_or("rms_norm_eps", 1e-6);
  config.attention_bias = keys.boolean_or("attention_bias", false);
  config.mlp_bias = keys.boolean_or("mlp_bias", false);
  config.tied = keys.boolean_or("tie_word_embeddings", false);
  config.rope = read_rope(keys, config);
  const std::vector<int64_t> bos = keys.ids("bos_token_id");
  if (!bos.empty())
    config.bos = bos.front();
  config.eos = keys.ids("eos_token_id");
  const auto generation = folder / "generation_config.json";
  if (std::filesystem::exists(generation)) {
    const nlohmann::json fuller = io::read_json(generation);
    const auto eos = Keys(fuller, generation).ids("eos_token_id");
    if (!eos.empty())
      config.eos = eos;
  }
  check_config(config, file);
  return config;
}

}  // namespace sterna::model
