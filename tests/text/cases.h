#pragma once

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trainer/io/json.h"
#include "trainer/text/tokenizer.h"

namespace sterna::tests {

/// Ids and decoded text of every case of a file are those of the tokenizer at `path`.
/// @return  how many cases there were
inline size_t expect_cases(const std::filesystem::path& path, const std::filesystem::path& cases) {
  const std::unique_ptr<text::Tokenizer> tokenizer = text::open_tokenizer(path);
  const nlohmann::json set = io::read_json(cases).at("cases");
  EXPECT_FALSE(set.empty()) << cases;
  for (const nlohmann::json& one : set) {
    const std::vector<int32_t> ids = one.at("ids");
    const std::string text = one.at("text");
    EXPECT_EQ(tokenizer->encode(text), ids) << path << ": " << one.at("text");
    EXPECT_EQ(tokenizer->decode(ids), one.at("decoded").get<std::string>())
        << path << ": " << one.at("text");
  }
  return set.size();
}

}  // namespace sterna::tests
