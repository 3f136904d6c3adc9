#pragma once

#include "trainer/text/surround.h"
#include "trainer/text/tokenizer.h"

namespace sterna::tests::fuzz {

/// Texts to ids and back by a tokenizer that was opened from damaged bytes.
inline void exercise(const text::Tokenizer& tokenizer) {
  const std::string hard =
      "Hello  world,\n\tit's 12345 o'clock \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x91\xa9\xe2\x80\x8d "
      "<s>[MASK] e\xcc\x81\xc2\xa0  don't ";
  std::vector<int32_t> ids = tokenizer.encode(hard);
  tokenizer.encode("");
  tokenizer.encode("\xff\xc3 broken \x80");
  text::encode_surrounded(tokenizer, "one text", std::nullopt, std::nullopt);
  text::encode_surrounded(tokenizer, "two", "texts", 16);
  for (int32_t id = -1; id < 40; ++id)
    ids.push_back(id);
  ids.push_back(static_cast<int32_t>(tokenizer.vocab_size()));
  tokenizer.decode(ids);
  tokenizer.piece(static_cast<int32_t>(tokenizer.vocab_size()) - 1);
}

}  // namespace sterna::tests::fuzz
