#include "trainer/text/post_processor.h"

#include <nlohmann/json.hpp>

#include "trainer/text/spec.h"

namespace sterna::text {
namespace {

using nlohmann::json;

// {"SpecialToken": {"id": "[CLS]", "type_id": 0}} or {"Sequence": {"id": "A", "type_id": 0}}.
std::vector<TemplatePart> read_template(const json& list, const json& special_tokens) {
  std::vector<TemplatePart> parts;
  for (const json& item : list) {
    if (const auto text = item.find("Sequence"); text != item.end()) {
      const bool second = text->at("id") == "B";
      parts.push_back({-1, second ? 1 : 0, value_or(*text, "type_id", int32_t{0})});
      continue;
    }
    const json& token = item.at("SpecialToken");
    for (const json& id : special_tokens.at(token.at("id").get<std::string>()).at("ids"))
      parts.push_back({id_of(id), -1, value_or(token, "type_id", int32_t{0})});
  }
  return parts;
}

Surroundings around(int32_t cls, int32_t sep, bool roberta) {
  const int32_t second = roberta ? 0 : 1;
  Surroundings made;
  made.single = {{cls, -1, 0}, {-1, 0, 0}, {sep, -1, 0}};
  made.pair = made.single;
  if (roberta)
    made.pair.push_back({sep, -1, 0});
  made.pair.push_back({-1, 1, second});
  made.pair.push_back({sep, -1, second});
  return made;
}

}  // namespace

std::optional<Surroundings> read_post_processor(const json& spec) {
  if (spec.is_null()) {
    return std::nullopt;
  }
  const std::string type = type_of(spec, "the post-processor");
  if (type == "ByteLevel") {
    return std::nullopt;  // moves offsets only
  }
  if (type == "Sequence") {
    std::optional<Surroundings> found;
    for (const json& part : spec.at("processors")) {
      const std::optional<Surroundings> one = read_post_processor(part);
      if (one && found) {
        refuse("post-processor", "Sequence of two that add tokens");
      }
      found = one ? one : found;
    }
    return found;
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    return around(
        id_of(spec.at("cls").at(1)), id_of(spec.at("sep").at(1)), type == "RobertaProcessing");
  }
  if (type != "TemplateProcessing") {
    refuse("post-processor", type);
  }
  const json tokens = spec.value("special_tokens", json::object());
  return Surroundings{read_template(spec.at("single"), tokens),
                      read_template(spec.value("pair", json::array()), tokens)};
}

Surroundings default_surroundings(const SpecialTokens& special) {
  Surroundings made;
  if (special.add_bos && special.bos) {
    made.single.insert(made.single.begin(), {*special.bos, -1, 0});
    made.pair = {{*special.bos, -1, 0}, {-1, 0, 0}, {*special.bos, -1, 1}, {-1, 1, 1}};
  }
  return made;
}

}  // namespace sterna::text
