// Pre-tokenizers by the names that llama.cpp's converter gives them. Several names stand for one
// rule; a name that is not listed is refused, because a wrong rule degrades output in silence.
#include "trainer/text/gguf_pre.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "recipes/user_error.h"
#include "trainer/text/splitters.h"

namespace sterna::text {
namespace {

using nlohmann::json;

constexpr const char* kTekkenPattern =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

json byte_level(bool use_regex) {
  return {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", use_regex}};
}

json split_then_bytes(const char* pattern) {
  const json split = {
      {"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}};
  return {{"type", "Sequence"}, {"pretokenizers", {split, byte_level(false)}}};
}

json digits_then_gpt2() {
  const json digits = {{"type", "Digits"}, {"individual_digits", true}};
  return {{"type", "Sequence"}, {"pretokenizers", {digits, byte_level(true)}}};
}

constexpr std::array<std::string_view, 7> kGpt2{
    "gpt-2", "gpt2", "olmo", "mpt", "phi-2", "jina-es", "roberta-bpe"};
constexpr std::array<std::string_view, 7> kDigits{
    "smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"};
constexpr std::array<std::string_view, 6> kLlama3{
    "llama-bpe", "llama3", "llama-v3", "falcon3", "smaug-bpe", "dbrx"};
constexpr std::array<std::string_view, 3> kQwen2{"qwen2", "deepseek-r1-qwen", "stablelm2"};

template <size_t N>
bool is_one_of(const std::string& name, const std::array<std::string_view, N>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

GgufPre gguf_pre(const std::string& name) {
  if (is_one_of(name, kGpt2)) {
    return {byte_level(true)};
  }
  if (is_one_of(name, kDigits)) {
    return {digits_then_gpt2()};
  }
  if (is_one_of(name, kLlama3)) {
    const bool llama3 =
        name == "llama-bpe" || name == "llama3" || name == "llama-v3" || name == "falcon3";
    return {split_then_bytes(kLlama3Pattern), llama3, llama3};
  }
  if (is_one_of(name, kQwen2)) {
    return {split_then_bytes(kQwen2Pattern)};
  }
  if (name == "tekken") {
    return {split_then_bytes(kTekkenPattern), /*ignore_merges=*/true, /*add_bos=*/true};
  }
  throw recipes::UserError("GGUF tokenizer: the pre-tokenizer tokenizer.ggml.pre = \"" + name +
                           "\" is not supported");
}

}  // namespace sterna::text
