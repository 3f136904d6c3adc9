#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"
#include "tests/support/tokenizers.h"
#include "trainer/data/samples.h"

namespace sterna::data {

/// Hands every call to another tokenizer and counts them.
class CountingTokenizer final : public text::Tokenizer {
 public:
  explicit CountingTokenizer(const text::Tokenizer& inner)
      : fingerprint_(inner.fingerprint()), special_(inner.special()), inner_(inner) {}

  std::vector<int32_t> encode(std::string_view text) const override {
    ++calls;
    return inner_.encode(text);
  }
  std::string decode(std::span<const int32_t> ids) const override { return inner_.decode(ids); }
  int64_t vocab_size() const override { return inner_.vocab_size(); }
  const text::SpecialTokens& special() const override { return special_; }
  std::string piece(int32_t id) const override { return inner_.piece(id); }
  const std::string& chat_template() const override { return template_; }
  const text::Surroundings& surroundings() const override { return inner_.surroundings(); }
  bool is_special(int32_t id) const override { return inner_.is_special(id); }
  const std::string& fingerprint() const override { return fingerprint_; }

  mutable int calls = 0;
  std::string fingerprint_;
  text::SpecialTokens special_;
  std::string template_;

 private:
  const text::Tokenizer& inner_;
};

/// A folder that goes away with the test, a text in it, and a tokenizer with start and end tokens.
class DataTest : public testing::Test {
 protected:
  void SetUp() override {
    inner_ = text::open_tokenizer(tests::golden_tokenizers() / "llama3.json");
    tokenizer_ = std::make_unique<CountingTokenizer>(*inner_);
    tokenizer_->special_.bos = 1;
    tokenizer_->special_.eos = 0;
    tokenizer_->special_.add_bos = false;
  }

  std::filesystem::path write(const std::string& name, std::string_view text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
    return folder_ / name;
  }

  /// Opens a recipe of these lines, which find the folder in FOLDER.
  std::unique_ptr<SampleSource> open_recipe(std::string lines,
                                            int64_t seq_len,
                                            int64_t seed = 1) const {
    const std::string folder = folder_.path().string();
    for (size_t at = lines.find("FOLDER"); at != lines.npos; at = lines.find("FOLDER"))
      lines.replace(at, 6, folder);
    recipes::Recipe recipe = recipes::Recipe::parse(lines, "test.toml");
    auto source = open_samples(recipe.section("data"), *tokenizer_, seq_len, seed);
    recipe.reject_unknown();
    return source;
  }

  /// @param keys  more lines of `[data]`
  std::unique_ptr<SampleSource> open(const std::string& keys = "",
                                     int64_t seq_len = 8,
                                     int64_t seed = 1) const {
    return open_recipe("[data]\ntext = 'FOLDER/t'\ncache = 'FOLDER/cache'\n" + keys, seq_len, seed);
  }

  std::filesystem::path cache_file() const {
    return std::filesystem::directory_iterator(folder_ / "cache")->path();
  }

  tests::TempFolder folder_;
  std::unique_ptr<text::Tokenizer> inner_;
  std::unique_ptr<CountingTokenizer> tokenizer_;
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::string long_text() {
  std::string text;
  for (int i = 0; i < 60; ++i) {
    text += "The tern number " + std::to_string(i * i) + " flies south.\n";
  }
  return text;
}

}  // namespace sterna::data
