#pragma once

#include <filesystem>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

namespace sterna::io {

/// Parses JSON strictly: duplicate keys and nesting deeper than 64 are refused.
/// @param file    named in errors
/// @param offset  byte of the file at which `text` starts, for errors
/// @throws FileError
nlohmann::json parse_json(std::string_view text,
                          const std::filesystem::path& file,
                          uint64_t offset = 0);

/// parse_json of a whole file.
nlohmann::json read_json(const std::filesystem::path& path);

}  // namespace sterna::io
