#include "trainer/text/settings.h"

#include <algorithm>
#include <cstdint>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/io/tensor_file.h"

namespace sterna::text {
namespace {

using nlohmann::json;

json read_if_there(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? io::read_json(path) : json::object();
}

// "<s>" or {"content": "<s>", ...}.
std::optional<std::string> token_text(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) {
    return std::nullopt;
  }
  if (found->is_string()) {
    return found->get<std::string>();
  }
  if (found->is_object() && found->contains("content") && found->at("content").is_string()) {
    return found->at("content").get<std::string>();
  }
  return std::nullopt;
}

// An id, or the first of a list of ids.
std::optional<int32_t> token_id(const json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end()) {
    return std::nullopt;
  }
  const json& id = found->is_array() && !found->empty() ? found->front() : *found;
  const int64_t value = id.is_number_integer() ? id.get<int64_t>() : -1;
  return value >= 0 && value <= INT32_MAX ? std::optional(static_cast<int32_t>(value))
                                          : std::nullopt;
}

struct Name {
  const char* token;
  const char* id;
  std::optional<int32_t> SpecialTokens::*field;
};
constexpr Name kNames[] = {{"bos_token", "bos_token_id", &SpecialTokens::bos},
                           {"eos_token", "eos_token_id", &SpecialTokens::eos},
                           {"pad_token", "pad_token_id", &SpecialTokens::pad},
                           {"unk_token", "unk_token_id", &SpecialTokens::unk}};

bool names_template(const json& entry) {
  return entry.is_object() && entry.contains("name") && entry.at("name").is_string() &&
         entry.contains("template") && entry.at("template").is_string();
}

// A string, or a list of {"name", "template"}, of which "default" is the one for plain chats.
std::string template_of(const json& config, const std::filesystem::path& file) {
  const json found = config.is_object() ? config.value("chat_template", json()) : json();
  if (found.is_string()) {
    return found.get<std::string>();
  }
  if (!found.is_null() &&
      !(found.is_array() && std::all_of(found.begin(), found.end(), &names_template))) {
    throw io::FileError(file.string() +
                        ": \"chat_template\" is neither a string nor a list of {\"name\": ..., "
                        "\"template\": ...}: " +
                        found.dump().substr(0, 80) + "; mend it or take it out");
  }
  for (const json& entry : found) {
    if (entry.at("name") == "default") {
      return entry.at("template").get<std::string>();
    }
  }
  return "";
}

}  // namespace

Settings read_settings(const std::filesystem::path& folder,
                       Settings settings,
                       const FindPiece& find) {
  const json config = read_if_there(folder / "tokenizer_config.json");
  const json map = read_if_there(folder / "special_tokens_map.json");
  const json generation = read_if_there(folder / "generation_config.json");
  const json model = read_if_there(folder / "config.json");
  for (const Name& name : kNames) {
    std::optional<int32_t>& field = settings.special.*name.field;
    std::optional<int32_t> found;
    for (const json* source : {&config, &map}) {
      const std::optional<std::string> text = token_text(*source, name.token);
      found = !found && text ? find(*text) : found;
    }
    field = found ? found : field;
    for (const json* source : {&generation, &model}) {
      field = field ? field : token_id(*source, name.id);
    }
  }
  const auto add_bos = config.find("add_bos_token");
  if (add_bos != config.end() && add_bos->is_boolean()) {
    settings.special.add_bos = add_bos->get<bool>();
  }
  const std::filesystem::path jinja = folder / "chat_template.jinja";
  const std::string own = std::filesystem::exists(jinja)
                              ? io::read_text(jinja)
                              : template_of(config, folder / "tokenizer_config.json");
  settings.chat_template = own.empty() ? settings.chat_template : own;
  return settings;
}

}  // namespace sterna::text
