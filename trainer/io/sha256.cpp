#include "trainer/io/sha256.h"

#include <algorithm>
#include <array>
#include <openssl/evp.h>
#include <stdexcept>

#include "trainer/io/mapped_file.h"

namespace sterna::io {
namespace {

void require(int ok) {
  if (ok != 1)
    throw std::runtime_error("OpenSSL refused SHA-256");
}

}  // namespace

void Sha256::Free::operator()(evp_md_ctx_st* context) const {
  EVP_MD_CTX_free(context);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  require(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr));
}

void Sha256::update(std::span<const std::byte> bytes) {
  require(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()));
}

void Sha256::update(std::string_view text) {
  update(std::as_bytes(std::span(text)));
}

std::string Sha256::hex() {
  std::array<unsigned char, 32> digest{};
  require(EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr));
  std::string text;
  for (const unsigned byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.hex();
}

std::string sha256_of_file(const std::filesystem::path& path) {
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error) && std::filesystem::file_size(path) == 0)
    return sha256_hex({});
  const MappedFile file(path);
  Sha256 hash;
  // Piece by piece, so that never all of the file counts as this process's memory.
  constexpr size_t kAtOnce = size_t{4} << 20;
  for (size_t at = 0; at < file.bytes().size(); at += kAtOnce) {
    const auto piece = file.bytes().subspan(at, std::min(kAtOnce, file.bytes().size() - at));
    hash.update(piece);
    release_pages(piece);
  }
  return hash.hex();
}

}  // namespace sterna::io
