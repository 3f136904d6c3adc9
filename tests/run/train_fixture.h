#pragma once

#include <gtest/gtest.h>

#include "tests/support/program.h"
#include "tests/support/temp_folder.h"
#include "tests/support/tiny_model.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/sha256.h"
#include "trainer/model/run_checkpoint.h"

namespace sterna::tests {

/// `sterna train` of the run folder/runs/name on folder/model and folder/text.txt.
inline std::vector<std::string> train_arguments(const std::filesystem::path& folder,
                                                const std::string& name,
                                                const std::vector<std::string>& more = {}) {
  std::vector<std::string> all{"train",
                               (source_dir() / "recipes/tests/tiny_kl.toml").string(),
                               "model.path=" + (folder / "model").string(),
                               "data.text=" + (folder / "text.txt").string(),
                               "data.cache=" + (folder / "tokens").string(),
                               "run.dir=" + (folder / "runs").string(),
                               "run.name=" + name};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

/// A tiny model and text in a folder, and `sterna train` on them.
class Training : public testing::Test {
 protected:
  void SetUp() override {
    write_tiny_model(folder_.path() / "model");
    write_text_file(folder_.path() / "text.txt", tiny_text(300));
  }

  std::vector<std::string> arguments(const std::string& name,
                                     const std::vector<std::string>& more = {}) const {
    return train_arguments(folder_.path(), name, more);
  }

  std::filesystem::path run_folder(const std::string& name) const {
    return folder_.path() / "runs" / name;
  }

  /// Runs to the end. @return exit code
  int train(const std::string& name, const std::vector<std::string>& more = {}) {
    Program program(arguments(name, more), folder_.path() / "output.txt");
    const int code = program.wait();
    output_ = program.output();
    return code;
  }

  /// SHA-256 over weights, moments and quantizers of one checkpoint, whatever ranks wrote it.
  std::string hashes(const std::string& name, const std::string& checkpoint) const {
    const auto folder = run_folder(name) / "checkpoints" / checkpoint;
    const model::Manifest manifest = model::read_manifest(folder);
    std::string all;
    for (const char* kind : {"master", "quant", "buffer", "moment1", "moment2", "ema"}) {
      io::Sha256 hash;
      const auto tensors = model::read_kind(folder, manifest, kind);
      for (const auto& [tensor, values] : tensors) {
        hash.update(tensor + "\n");
        hash.update({static_cast<const std::byte*>(values.const_data_ptr()), values.nbytes()});
      }
      if (!tensors.empty())
        all += std::string(kind) + " " + hash.hex() + "\n";
    }
    return all;
  }

  std::vector<std::string> checkpoints(const std::string& name) const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(run_folder(name) / "checkpoints"))
      names.push_back(entry.path().filename());
    return names;
  }

  /// Runs, is killed after each of `delays` (milliseconds), and then runs to the end.
  void train_with_kills(const std::string& name,
                        const std::vector<std::string>& more,
                        const std::vector<int>& delays) {
    bool first = true;
    for (const int delay : delays) {
      std::vector<std::string> all = more;
      if (!first && std::filesystem::exists(run_folder(name) / "recipe.toml"))
        all.push_back("--resume");
      Program program(arguments(name, all), folder_.path() / "output.txt");
      std::this_thread::sleep_for(std::chrono::milliseconds(delay));
      program.signal(SIGKILL);
      program.wait();
      first = false;
    }
    std::vector<std::string> last = more;
    if (std::filesystem::exists(run_folder(name) / "recipe.toml"))
      last.push_back("--resume");
    ASSERT_EQ(train(name, last), 0) << output_;
  }

  TempFolder folder_;
  std::string output_;
};

}  // namespace sterna::tests
