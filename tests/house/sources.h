#pragma once

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "tests/support/paths.h"

namespace sterna::tests {

struct SourceFile {
  std::string path;  ///< from the repository's root, with '/'
  std::string text;
};

inline std::string read_text(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// The repository's files with one of `extensions` (all where empty), sorted by path; build trees,
/// run folders and hidden folders other than .ci are left out.
inline std::vector<SourceFile> source_files(const std::set<std::string>& extensions) {
  namespace fs = std::filesystem;
  const fs::path root = source_dir();
  std::vector<SourceFile> files;
  for (auto at = fs::recursive_directory_iterator(root); at != fs::recursive_directory_iterator();
       ++at) {
    const std::string name = at->path().filename().string();
    if (at->is_directory()) {
      const bool hidden = name.front() == '.' && name != ".ci";
      if (hidden || name == "build" || name == "runs" || name == "__pycache__")
        at.disable_recursion_pending();
    } else if (name == ".git") {
      continue;  // a file in a work tree
    } else if (extensions.empty() || extensions.contains(at->path().extension().string())) {
      files.push_back({fs::relative(at->path(), root).generic_string(), read_text(at->path())});
    }
  }
  std::sort(
      files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  return files;
}

inline std::vector<SourceFile> code_files() {
  return source_files({".h", ".cpp", ".cu", ".cuh"});
}

}  // namespace sterna::tests
