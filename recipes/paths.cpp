#include "recipes/paths.h"

#include <cstdlib>
#include <string>

#include "recipes/user_error.h"

namespace sterna::recipes {
namespace {

/// An empty variable counts as one that is not set, as the XDG rules say.
std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::filesystem::path home(std::string_view needed_for) {
  const std::string folder = variable("HOME");
  if (folder.empty())
    throw UserError("the variable HOME is not set, which " + std::string(needed_for) +
                    " needs; set it or write the path out");
  return folder;
}

/// True where `text` is `name` or goes on with a slash.
bool starts_with_name(std::string_view text, std::string_view name) {
  return text.starts_with(name) && (text.size() == name.size() || text[name.size()] == '/');
}

std::filesystem::path joined(const std::filesystem::path& folder, std::string_view rest) {
  while (rest.starts_with('/'))
    rest.remove_prefix(1);
  return rest.empty() ? folder : folder / rest;
}

}  // namespace

std::filesystem::path cache_dir() {
  if (const std::string given = variable("STERNA_CACHE"); !given.empty())
    return given;
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty())
    return std::filesystem::path(xdg) / "sterna";
  return home("the cache folder") / ".cache" / "sterna";
}

std::filesystem::path expand_path(std::string_view text) {
  constexpr std::string_view kCache = "$STERNA_CACHE";
  constexpr std::string_view kData = "$STERNA_DATA";
  if (starts_with_name(text, "~"))
    return joined(home("'~'"), text.substr(1));
  if (starts_with_name(text, kCache))
    return joined(cache_dir(), text.substr(kCache.size()));
  if (starts_with_name(text, kData)) {
    const std::string data = variable("STERNA_DATA");
    if (data.empty())
      throw UserError("'" + std::string(text) +
                      "': the variable STERNA_DATA is not set; it names the folder of the "
                      "reference sets");
    return joined(data, text.substr(kData.size()));
  }
  return text;
}

}  // namespace sterna::recipes
