// The architecture as tests: include arrows point down, Torch stays out of the low folders, files
// stay small.
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/house/sources.h"

namespace sterna::tests {
namespace {

// A file may include its own folder and folders of smaller rank; neighbours never meet. The order
// inside trainer is the order of the libraries in CMakeLists.txt.
const std::map<std::string, int> kRank = {
    {"kernels", 0},
    {"recipes", 0},
    {"quant", 1},
    {"distill", 2},
    {"kvcache", 2},
    {"trainer/io", 30},
    {"trainer/text", 31},
    {"trainer/data", 32},
    {"trainer/dist", 33},
    {"trainer/model", 34},
    {"trainer/export", 35},
    {"trainer/eval", 36},
    {"trainer/run", 37},
    {"trainer/plan", 38},
    {"trainer/cli", 39},
    {"tests", 40},
};
const std::set<std::string> kTorchFree = {
    "kernels", "recipes", "trainer/io", "trainer/text", "trainer/data"};
constexpr int64_t kMaxLines = 400;

/// "trainer/io" of "trainer/io/gguf.h", "tests" of "tests/quant/x.cpp", else the first folder.
std::string folder_of(const std::string& path) {
  const auto slash = path.find('/');
  if (path.compare(0, slash, "trainer") != 0)
    return path.substr(0, slash);
  return path.substr(0, path.find('/', slash + 1));
}

/// What is wrong with the includes of a file, one line each.
std::vector<std::string> wrong_includes(const SourceFile& file) {
  static const std::regex own(R"re(^\s*#\s*include\s*"([^"]+)")re");
  static const std::regex torch(R"re(^\s*#\s*include\s*<(torch|ATen|c10|caffe2)/)re");
  const std::string folder = folder_of(file.path);
  const auto rank = kRank.find(folder);
  if (rank == kRank.end())
    return {file.path + ": the folder has no rank in ARCHITECTURE.md"};
  std::vector<std::string> wrong;
  std::istringstream lines(file.text);
  std::smatch match;
  for (std::string line; std::getline(lines, line);) {
    if (kTorchFree.contains(folder) && std::regex_search(line, torch))
      wrong.push_back(file.path + ": " + folder + " does not know Torch: " + line);
    if (!std::regex_search(line, match, own) || folder_of(match[1]) == folder)
      continue;
    const auto target = kRank.find(folder_of(match[1]));
    if (target == kRank.end())
      wrong.push_back(file.path + ": not a path from the root: " + line);
    else if (target->second >= rank->second)
      wrong.push_back(file.path + ": points up or to a neighbour: " + line);
  }
  return wrong;
}

/// All code but the precompiled header, which belongs to no folder.
std::vector<SourceFile> ranked_files() {
  std::vector<SourceFile> files = code_files();
  std::erase_if(files, [](const SourceFile& f) { return f.path.starts_with("cmake/"); });
  return files;
}

TEST(Layering, IncludesPointDownAndTorchStaysOutOfTheLowFolders) {
  const auto files = ranked_files();
  ASSERT_GT(files.size(), 20u) << "the repository was not found at " << source_dir();
  for (const SourceFile& file : files) {
    for (const std::string& line : wrong_includes(file))
      ADD_FAILURE() << line;
  }
}

TEST(Layering, FilesStaySmall) {
  for (const SourceFile& file : ranked_files()) {
    EXPECT_LE(std::count(file.text.begin(), file.text.end(), '\n'), kMaxLines) << file.path;
  }
}

TEST(Layering, TheCheckItselfSeesEveryKindOfViolation) {
  const std::vector<SourceFile> planted = {
      {"quant/x.cpp", "#include \"distill/objective.h\"\n"},
      {"distill/x.cpp", "#include \"kvcache/cache.h\"\n"},
      {"kvcache/x.h", "#include \"distill/objective.h\"\n"},
      {"kernels/x.h", "#include \"recipes/user_error.h\"\n"},
      {"trainer/io/x.cpp", "#include \"trainer/model/config.h\"\n"},
      {"trainer/text/x.cpp", "  #  include \"trainer/data/samples.h\"\n"},
      {"trainer/model/x.cpp", "#include \"trainer/run/train.h\"\n"},
      {"trainer/run/x.cpp", "#include \"tests/support/data.h\"\n"},
      {"trainer/data/x.cpp", "#include <ATen/ATen.h>\n"},
      {"kernels/x.cu", "#include <c10/util/BFloat16.h>\n"},
      {"quant/y.cpp", "#include \"encoded.h\"\n"},
      {"common/x.h", ""},
  };
  for (const SourceFile& file : planted)
    EXPECT_EQ(wrong_includes(file).size(), 1u) << file.path << ": " << file.text;
  EXPECT_TRUE(wrong_includes({"trainer/run/x.cpp",
                              "#include \"trainer/eval/perplexity.h\"\n#include <ATen/ATen.h>\n"
                              "#include \"trainer/run/step.h\"\n#include \"kernels/status.h\"\n"})
                  .empty());
}

}  // namespace
}  // namespace sterna::tests
