#include "trainer/io/json.h"

#include <cstddef>
#include <iterator>
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

/// Counts what the parser has read: its callback is not told where it is.
class Counted {
 public:
  using difference_type = std::ptrdiff_t;
  using value_type = char;
  using pointer = const char*;
  using reference = const char&;
  using iterator_category = std::input_iterator_tag;

  Counted(const char* at, uint64_t& read) : at_(at), read_(&read) {}
  reference operator*() const { return *at_; }
  Counted& operator++() {
    ++at_;
    ++*read_;
    return *this;
  }
  bool operator==(const Counted& other) const { return at_ == other.at_; }
  bool operator!=(const Counted& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  uint64_t* read_;
};

}  // namespace

json parse_json(std::string_view text, const std::filesystem::path& file, uint64_t offset) {
  // nlohmann keeps the last of two equal keys in silence; the open objects' keys tell.
  std::vector<std::set<std::string>> open;
  uint64_t read = 0;
  const auto place = [&] { return " (at byte " + std::to_string(offset + read) + ")"; };
  const auto watch = [&](int depth, json::parse_event_t event, const json& parsed) {
    if (depth > kMaxDepth)
      throw FileError(file.string() + ": JSON nested deeper than " + std::to_string(kMaxDepth) +
                      place());
    if (event == json::parse_event_t::object_start)
      open.emplace_back();
    if (event == json::parse_event_t::object_end)
      open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second)
      throw FileError(file.string() + ": JSON names the key '" + parsed.get<std::string>() +
                      "' twice" + place() + "; remove one of them");
    return true;
  };
  try {
    const Counted begin(text.data(), read);
    return json::parse(begin, Counted(text.data() + text.size(), read), watch);
  } catch (const json::parse_error& error) {
    throw FileError(file.string() + ": no valid JSON (at byte " +
                    std::to_string(offset + error.byte) + "): " + error.what());
  } catch (const json::out_of_range& error) {  // 1e999
    throw FileError(file.string() + ": JSON holds a number that is none here" + place() + ": " +
                    error.what());
  }
}

json read_json(const std::filesystem::path& path) {
  return parse_json(read_text(path), path);
}

}  // namespace sterna::io
