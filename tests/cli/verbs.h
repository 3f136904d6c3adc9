#pragma once

#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/io/support.h"
#include "tests/support/paths.h"
#include "tests/support/tiny_model.h"
#include "trainer/cli/command.h"

namespace sterna::tests {

/// The program's verbs, called in this process, on a tiny model and a text in a folder.
class Verbs : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(folder_ / "model");
    write_file(folder_ / "text.txt", tiny_text(400));
  }

  /// Exit code of `sterna ...`; its output is kept.
  int sterna(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"sterna"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::ostringstream out, err;
    const int code = cli::run_program(all, {out, err});
    out_ = out.str();
    err_ = err.str();
    return code;
  }

  std::string path(const std::string& name) const { return (folder_ / name).string(); }

  /// Arguments of a run of two steps, runs/<name>.
  std::vector<std::string> training(const std::string& name,
                                    const std::vector<std::string>& more = {}) const {
    std::vector<std::string> all = {"train",
                                    (source_dir() / "recipes/tests/tiny_kl.toml").string(),
                                    "run.dir=" + path("runs"),
                                    "run.name=" + name,
                                    "model.path=" + path("model"),
                                    "data.text=" + path("text.txt"),
                                    "data.cache=" + path("tokens"),
                                    "train.steps=2",
                                    "train.checkpoint_every=1"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }

  /// Takes a key out of a model's config.json.
  void forget(const std::string& model, const std::string& key) const {
    nlohmann::json config = nlohmann::json::parse(read_file(folder_ / model / "config.json"));
    config.erase(key);
    write_file(folder_ / model / "config.json", config.dump());
  }

  /// Turns the last bit of a file.
  static void damage(const std::filesystem::path& file) {
    std::string bytes = read_file(file);
    bytes.back() = static_cast<char>(bytes.back() ^ 1);
    write_file(file, bytes);
  }

  TempFolder folder_;
  std::string out_;
  std::string err_;
};

}  // namespace sterna::tests
