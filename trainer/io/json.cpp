#include "trainer/io/json.h"

#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "trainer/io/atomic_file.h"
#include "trainer/io/tensor_file.h"

namespace sterna::io {

namespace {

using nlohmann::json;

constexpr int kMaxDepth = 64;

}  // namespace

json parse_json(std::string_view text, const std::filesystem::path& file, uint64_t offset) {
  // nlohmann keeps the last of two equal keys in silence; the open objects' keys tell.
  std::vector<std::set<std::string>> open;
  const auto watch = [&](int depth, json::parse_event_t event, const json& parsed) {
    if (depth > kMaxDepth)
      throw FileError(file.string() + ": JSON nested deeper than " + std::to_string(kMaxDepth));
    if (event == json::parse_event_t::object_start)
      open.emplace_back();
    if (event == json::parse_event_t::object_end)
      open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second)
      throw FileError(file.string() + ": JSON names the key '" + parsed.get<std::string>() +
                      "' twice; remove one of them");
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), watch);
  } catch (const json::parse_error& error) {
    throw FileError(file.string() + ": no valid JSON (at byte " +
                    std::to_string(offset + error.byte) + "): " + error.what());
  }
}

json read_json(const std::filesystem::path& path) {
  return parse_json(read_text(path), path);
}

}  // namespace sterna::io
