#include "trainer/text/sentencepiece.h"

#include <stdexcept>
#include <utility>

#include <sentencepiece_processor.h>

#include "recipes/user_error.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/sha256.h"
#include "trainer/text/post_processor.h"
#include "trainer/text/settings.h"
#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

using sentencepiece::SentencePieceProcessor;

std::optional<int32_t> valid(int id) {
  return id >= 0 ? std::optional<int32_t>(id) : std::nullopt;
}

void check(const sentencepiece::util::Status& status) {
  if (!status.ok()) {
    throw std::runtime_error("SentencePiece: " + status.ToString());
  }
}

/// @return  what is wrong with the model, empty where nothing is
std::string load(SentencePieceProcessor& model, const std::string& bytes) {
  try {
    const auto status = model.LoadFromSerializedProto(bytes);
    return status.ok() ? "" : status.ToString();
  } catch (const std::exception& error) {  // of the tries that it builds
    return error.what();
  }
}

class SentencePiece final : public Tokenizer {
 public:
  explicit SentencePiece(const std::filesystem::path& file) {
    const std::string bytes = io::read_text(file);
    if (const std::string why = load(model_, bytes); !why.empty()) {
      throw recipes::UserError(file.string() + ": not a SentencePiece model: " + why);
    }
    fingerprint_ = io::sha256_hex(std::as_bytes(std::span(bytes)));
    Settings own;
    own.special = {valid(model_.bos_id()),
                   valid(model_.eos_id()),
                   valid(model_.pad_id()),
                   valid(model_.unk_id()),
                   /*add_bos=*/model_.bos_id() >= 0};
    settings_ = read_settings(file.parent_path(), own, [this](std::string_view piece) {
      const int id = model_.PieceToId(piece);
      return id != model_.unk_id() || piece == model_.IdToPiece(id) ? valid(id) : std::nullopt;
    });
    settings_.surroundings = default_surroundings(settings_.special);
  }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int> ids;
    check(is_utf8(text) ? model_.Encode(text, &ids) : model_.Encode(replace_invalid(text), &ids));
    return {ids.begin(), ids.end()};
  }

  // The library drops control pieces; they are put back between the parts it decodes.
  std::string decode(std::span<const int32_t> ids) const override {
    std::string text;
    std::vector<int> run;
    const auto flush = [&] {
      std::string part;
      check(model_.Decode(run, &part));
      text += part;
      run.clear();
    };
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) {
        continue;
      }
      if (!model_.IsControl(id)) {
        run.push_back(id);
        continue;
      }
      flush();
      text += model_.IdToPiece(id);
    }
    flush();
    return text;
  }

  int64_t vocab_size() const override { return model_.GetPieceSize(); }
  const SpecialTokens& special() const override { return settings_.special; }
  std::string piece(int32_t id) const override {
    return id >= 0 && id < vocab_size() ? model_.IdToPiece(id) : std::string();
  }
  const std::string& chat_template() const override { return settings_.chat_template; }
  const Surroundings& surroundings() const override { return settings_.surroundings; }
  bool is_special(int32_t id) const override {
    return id >= 0 && id < vocab_size() && (model_.IsControl(id) || model_.IsUnknown(id));
  }
  const std::string& fingerprint() const override { return fingerprint_; }

 private:
  SentencePieceProcessor model_;
  Settings settings_;
  std::string fingerprint_;
};

}  // namespace

std::unique_ptr<Tokenizer> open_sentencepiece(const std::filesystem::path& file) {
  return std::make_unique<SentencePiece>(file);
}

}  // namespace sterna::text
