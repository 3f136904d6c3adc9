#include "trainer/io/checksums.h"

#include <algorithm>
#include <set>

#include "trainer/io/atomic_file.h"
#include "trainer/io/sha256.h"
#include "trainer/io/tensor_file.h"

namespace sterna::io {
namespace {

namespace fs = std::filesystem;

constexpr size_t kDigits = 64;
constexpr size_t kName = kDigits + 2;  // behind "  ", or " *" of sha256sum's binary mode

struct Line {
  std::string hash;
  fs::path name;
};

/// A name must stay in its folder: what is read here decides nothing but whether it is hashed, yet
/// a list from elsewhere should not have /dev/zero read.
bool stays_inside(const fs::path& name) {
  return name.is_relative() && std::find(name.begin(), name.end(), "..") == name.end();
}

Line parse_line(const std::string& text, const fs::path& list, size_t number) {
  const bool form = text.size() > kName && text[kDigits] == ' ' &&
                    text.find_first_not_of("0123456789abcdef") == kDigits;
  if (!form || !stays_inside(text.substr(kName)))
    throw FileError(list.string() + ":" + std::to_string(number) +
                    ": expected 64 hex digits, two spaces and a file of this folder; copy the "
                    "list again, or remove it to go without");
  return {text.substr(0, kDigits), text.substr(kName)};
}

void require_file(const fs::path& folder, const Line& line) {
  const fs::path file = folder / line.name;
  if (!fs::is_regular_file(file))
    throw FileError(file.string() + ": missing, though " + kChecksums +
                    " lists it; copy the whole folder");
  const std::string found = sha256_of_file(file);
  if (found != line.hash)
    throw FileError(file.string() + ": damaged: SHA-256 is " + found + ", " + kChecksums +
                    " says " + line.hash +
                    "; copy the folder or write the export again. If you changed this file "
                    "yourself, take its line out of " +
                    kChecksums);
}

}  // namespace

std::string checksums_of(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).string();
    if (!entry.is_directory() && name != kChecksums && name != "certificate.json")
      names.insert(name);
  }
  std::string text;
  for (const std::string& name : names)
    text += sha256_of_file(folder / name) + "  " + name + "\n";
  return text;
}

void require_checksums(const fs::path& folder) {
  const fs::path list = folder / kChecksums;
  if (!fs::exists(list))
    return;
  const std::string text = read_text(list);
  if (text.empty())
    throw FileError(list.string() +
                    ": lists nothing; copy the list again, or remove it to go "
                    "without");
  size_t number = 0;
  for (size_t at = 0, end = 0; at < text.size(); at = end + 1) {
    end = std::min(text.find('\n', at), text.size());
    require_file(folder, parse_line(text.substr(at, end - at), list, ++number));
  }
}

}  // namespace sterna::io
