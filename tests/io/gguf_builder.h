#pragma once

#include <string>
#include <vector>

#include "tests/io/support.h"

namespace sterna::tests {

inline std::string gguf_string(const std::string& text) {
  return raw(static_cast<uint64_t>(text.size())) + text;
}

/// Writes a GGUF byte by byte, independent of any code of ours, so that damage can be put anywhere.
struct GgufBuilder {
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<std::string> pairs;
  std::vector<std::string> infos;
  std::string data;

  void pair(const std::string& key, uint32_t type, const std::string& value) {
    pairs.push_back(gguf_string(key) + raw(type) + value);
  }
  void text(const std::string& key, const std::string& value) { pair(key, 8, gguf_string(value)); }

  /// @param ne  fastest dimension first
  void tensor(const std::string& name,
              const std::vector<int64_t>& ne,
              uint32_t type,
              const std::string& bytes) {
    std::string info = gguf_string(name) + raw(static_cast<uint32_t>(ne.size()));
    for (const int64_t size : ne)
      info += raw(size);
    infos.push_back(info + raw(type) + raw(static_cast<uint64_t>(data.size())));
    data += bytes;
    data.resize((data.size() + alignment - 1) / alignment * alignment);
  }

  std::string build() const {
    std::string out = "GGUF" + raw(version) + raw(static_cast<uint64_t>(infos.size())) +
                      raw(static_cast<uint64_t>(pairs.size()));
    for (const std::string& pair : pairs)
      out += pair;
    for (const std::string& info : infos)
      out += info;
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    return out + data;
  }
};

}  // namespace sterna::tests
