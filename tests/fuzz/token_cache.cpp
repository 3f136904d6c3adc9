// A token cache is hashed as a whole, so no change of it may be accepted; what lies behind the hash
// is reached by making it right again.
#include "trainer/data/token_cache.h"

#include <algorithm>
#include <stdexcept>

#include "tests/fuzz/memory_file.h"
#include "tests/fuzz/target.h"
#include "trainer/io/sha256.h"

namespace sterna::tests::fuzz {
namespace {

const std::string kKey(64, 'a');
constexpr size_t kHash = 64;
constexpr size_t kBehindHash = 8;  // the magic number

std::string cache(int64_t vocab_size, bool masked) {
  const TempFolder folder;
  data::TokenCacheWriter writer(folder / "tokens", kKey, vocab_size);
  const std::vector<int32_t> first = {1, 2, 3, 400};
  const std::vector<int32_t> second = {5, 6, 7};
  const std::vector<uint8_t> loss = {0, 1, 1};
  writer.add_document(first);
  writer.add_document(second, masked ? std::span<const uint8_t>(loss) : std::span<const uint8_t>());
  writer.add_document(first);
  writer.commit();
  return bytes_of(folder / "tokens");
}

std::vector<std::string> seeds() {
  return {cache(500, false), cache(500, true), cache(100000, true)};
}

void read(const std::filesystem::path& path) {
  const data::TokenCache opened(path, kKey);
  for (int64_t i = 0; i < opened.size(); ++i) {
    (void)opened.at(i);
    (void)opened.is_target(i);
    (void)opened.end_of(opened.document_of(i));
  }
}

std::string signed_again(std::string bytes) {
  if (bytes.size() < kHash + kBehindHash)
    return bytes;
  const size_t at = bytes.size() - kHash - kBehindHash;
  const std::string hash = io::sha256_hex(std::as_bytes(std::span(bytes.data(), at)));
  return bytes.replace(at, kHash, hash);
}

bool feed(const std::string& input) {
  static MemoryFile file;
  static const std::vector<std::string> sound = seeds();
  const bool accepted = reads([&] { read(file.hold(input)); });
  if (accepted && std::find(sound.begin(), sound.end(), input) == sound.end())
    throw std::logic_error("a token cache that was changed was accepted");
  return reads([&] { read(file.hold(signed_again(input))); });
}

}  // namespace

Target token_cache_target() {
  return {"token_cache", seeds, feed};
}

}  // namespace sterna::tests::fuzz
