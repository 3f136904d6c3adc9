#pragma once

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "trainer/io/json.h"
#include "trainer/text/surround.h"
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

/// Ids and type ids of every pair of a file, cut to the file's length.
inline size_t expect_pairs(const std::filesystem::path& path,
                           const std::filesystem::path& cases,
                           int64_t max_length) {
  const std::unique_ptr<text::Tokenizer> tokenizer = text::open_tokenizer(path);
  const nlohmann::json set = io::read_json(cases).at("cases");
  for (const nlohmann::json& one : set) {
    const text::Encoding found = text::encode_surrounded(
        *tokenizer, one.at("a").get<std::string>(), one.at("b").get<std::string>(), max_length);
    EXPECT_EQ(found.ids, one.at("ids").get<std::vector<int32_t>>()) << one;
    EXPECT_EQ(found.type_ids, one.at("type_ids").get<std::vector<int32_t>>()) << one;
  }
  return set.size();
}

}  // namespace sterna::tests
