#include "trainer/data/token_documents.h"

#include <cstring>
#include <memory>
#include <optional>

#include <nlohmann/json.hpp>

#include "trainer/data/documents.h"
#include "trainer/data/turns.h"
#include "trainer/io/mapped_file.h"
#include "trainer/io/sha256.h"

namespace sterna::data {
namespace {

using nlohmann::json;
using recipes::UserError;
using Take = std::function<void(const TokenDocument&)>;

/// Special tokens around a document; absent where none is wanted.
struct Marks {
  std::optional<int32_t> bos;
  std::optional<int32_t> end;
};

std::optional<int32_t> start_token(const SourceConfig& config, const text::Tokenizer& tokenizer) {
  const text::SpecialTokens& special = tokenizer.special();
  if (config.bos == "none" || (config.bos == "auto" && !special.add_bos)) {
    return std::nullopt;
  }
  if (!special.bos) {
    throw UserError("data.bos: \"" + config.bos +
                    "\", but the tokenizer has no start token; set data.bos=none");
  }
  return special.bos;
}

std::optional<int32_t> end_token(const SourceConfig& config, const text::Tokenizer& tokenizer) {
  if (config.end == "none") {
    return std::nullopt;
  }
  if (config.end == "auto") {
    if (!tokenizer.special().eos) {
      throw UserError(
          "data.end: \"auto\", but the tokenizer has no end token; name one (data.end=\"<text>\") "
          "or set data.end=none");
    }
    return tokenizer.special().eos;
  }
  const std::vector<int32_t> ids = tokenizer.encode(config.end);
  if (ids.size() != 1) {
    throw UserError("data.end: \"" + config.end + "\" is " + std::to_string(ids.size()) +
                    " tokens of this tokenizer, not one");
  }
  return ids[0];
}

bool by_template(const SourceConfig& config) {
  const bool answers = config.format == "pairs" || config.preference();
  return config.format == "chat" || (answers && config.turns == "chat");
}

// A template writes its own start and end tokens.
Marks marks_of(const SourceConfig& config, const text::Tokenizer& tokenizer) {
  if (by_template(config))
    return {};
  if (config.format == "tokens")
    return {std::nullopt, end_token(config, tokenizer)};
  return {start_token(config, tokenizer), end_token(config, tokenizer)};
}

DocumentOptions document_options(const SourceConfig& config) {
  DocumentOptions options;
  options.files = config.text;
  options.format = config.format;
  options.field = config.field.empty() ? "text" : config.field;
  options.separator = config.separator;
  options.strip = config.strip;
  if (config.max_documents > 0) {
    options.max_documents = config.max_documents;
  }
  return options;
}

const std::string& text_at(const json& object, const std::string& key, const char* option) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_string())
    throw UserError("the object has no text under \"" + key + "\" (" + option + ")");
  return found->get_ref<const std::string&>();
}

std::vector<text::ChatMessage> messages_at(const json& object, const std::string& key) {
  const auto list = object.find(key);
  if (list == object.end() || !list->is_array() || list->empty())
    throw UserError("the object has no list of messages under \"" + key + "\" (data.field)");
  std::vector<text::ChatMessage> messages;
  for (const json& one : *list) {
    if (!one.is_object())
      throw UserError("a message is no object with \"role\" and \"content\"");
    messages.push_back(
        {text_at(one, "role", "of a message"), text_at(one, "content", "of a message")});
  }
  return messages;
}

class Encoder {
 public:
  Encoder(const SourceConfig& config, const text::Tokenizer& tokenizer, const Take& take)
      : config_(config), tokenizer_(tokenizer), take_(take), marks_(marks_of(config, tokenizer)) {
    if (by_template(config))
      turns_ = std::make_unique<Turns>(tokenizer);
  }

  void run(const ByteRange& part) {
    if (config_.format == "tokens") {
      for (const std::filesystem::path& file : config_.text)
        tokens(file);
      return;
    }
    DocumentOptions options = document_options(config_);
    options.part = part;
    if (!config_.masked()) {
      for_each_document(options, [this](std::string_view document) { text(document); });
      return;
    }
    for_each_record(options, [this](const json& record) {
      if (config_.format == "chat") {
        chat(messages_at(record, config_.field.empty() ? "messages" : config_.field));
      } else if (config_.preference()) {
        preference(text_at(record, config_.prompt, "data.prompt"),
                   text_at(record, config_.chosen, "data.chosen"),
                   text_at(record, config_.rejected, "data.rejected"));
      } else {
        pair(text_at(record, config_.prompt, "data.prompt"),
             text_at(record, config_.response, "data.response"));
      }
    });
  }

 private:
  bool wanted(std::string_view identity) const {
    return is_held_out(identity, config_.held_out) == (config_.part == "held_out");
  }

  void text(std::string_view document) const {
    if (!wanted(document))
      return;
    TokenDocument made;
    add_start(made);
    const std::vector<int32_t> ids = tokenizer_.encode(document);
    made.ids.insert(made.ids.end(), ids.begin(), ids.end());
    add_end(made);
    take_(made);
  }

  void chat(const std::vector<text::ChatMessage>& messages) const {
    std::string identity;
    for (const text::ChatMessage& message : messages)
      identity += message.role + '\0' + message.content + '\0';
    if (wanted(identity))
      take_(turns_->encode(messages));
  }

  void pair(const std::string& prompt, const std::string& response) const {
    if (wanted(prompt))  // by the prompt alone: other answers to it are on the same side
      take_(answered(prompt, response));
  }

  /// Both or none: samples are told apart by which comes first.
  void preference(const std::string& prompt,
                  const std::string& chosen,
                  const std::string& rejected) const {
    if (!wanted(prompt))
      return;
    const TokenDocument better = answered(prompt, chosen);
    const TokenDocument other = answered(prompt, rejected);
    if (better.ids.empty() || other.ids.empty())
      return;
    take_(better);
    take_(other);
  }

  TokenDocument answered(const std::string& prompt, const std::string& response) const {
    if (turns_ != nullptr)
      return turns_->encode(
          std::vector<text::ChatMessage>{{"user", prompt}, {"assistant", response}});
    TokenDocument made;
    add_start(made);
    const std::vector<int32_t> ids = tokenizer_.encode(prompt + response);
    const size_t asked = common_prefix(tokenizer_.encode(prompt), ids);
    made.loss.assign(made.ids.size() + asked, 0);
    made.ids.insert(made.ids.end(), ids.begin(), ids.end());
    add_end(made);
    made.loss.resize(made.ids.size(), 1);
    return made;
  }

  void add_start(TokenDocument& made) const {
    if (marks_.bos)
      made.ids.push_back(*marks_.bos);
  }

  void add_end(TokenDocument& made) const {
    if (marks_.end)
      made.ids.push_back(*marks_.end);
  }

  void tokens(const std::filesystem::path& file) {
    const io::MappedFile mapped(file);
    const size_t width = config_.dtype == "uint16" ? 2 : 4;
    const std::span<const std::byte> bytes = mapped.bytes();
    if (bytes.size() % width != 0) {
      throw UserError(file.string() + ": " + std::to_string(bytes.size()) +
                      " bytes are no whole number of " + config_.dtype + " ids (data.dtype)");
    }
    TokenDocument made;
    for (size_t at = 0; at < bytes.size() && !full(); at += width) {
      uint32_t id = 0;  // little-endian: two bytes fill the lower half
      std::memcpy(&id, bytes.data() + at, width);
      if (id >= static_cast<uint64_t>(tokenizer_.vocab_size())) {
        throw UserError(file.string() + ": id " + std::to_string(id) + " at token " +
                        std::to_string(at / width) + ", but the vocabulary has " +
                        std::to_string(tokenizer_.vocab_size()) +
                        " pieces; was it made with another tokenizer, or is data.dtype wrong?");
      }
      made.ids.push_back(static_cast<int32_t>(id));
      if (made.ids.back() == marks_.end)
        pass(made);
    }
    pass(made);
  }

  bool full() const { return config_.max_documents > 0 && passed_ >= config_.max_documents; }

  void pass(TokenDocument& made) {
    if (!made.ids.empty() && !full()) {
      ++passed_;
      if (wanted({reinterpret_cast<const char*>(made.ids.data()), made.ids.size() * 4}))
        take_(made);
    }
    made.ids.clear();
  }

  const SourceConfig& config_;
  const text::Tokenizer& tokenizer_;
  const Take& take_;
  Marks marks_;
  std::unique_ptr<Turns> turns_;
  int64_t passed_ = 0;
};

}  // namespace

void for_each_tokens(const SourceConfig& config,
                     const text::Tokenizer& tokenizer,
                     const std::function<void(const TokenDocument&)>& take,
                     const ByteRange& part) {
  Encoder(config, tokenizer, take).run(part);
}

namespace {

// What a template writes besides the messages.
std::string template_key(const text::Tokenizer& tokenizer) {
  const text::SpecialTokens& special = tokenizer.special();
  return std::to_string(special.bos.value_or(-1)) + "," + std::to_string(special.eos.value_or(-1)) +
         "," + tokenizer.chat_template();
}

}  // namespace

// Each part behind its length.
std::string tokens_key(const SourceConfig& config, const text::Tokenizer& tokenizer) {
  const Marks marks = marks_of(config, tokenizer);
  io::Sha256 hash;
  for (const std::string& part :
       {content_hash(config.text),
        tokenizer.fingerprint(),
        std::to_string(text::kTokenizationRevision),
        by_template(config) ? template_key(tokenizer) : "",
        config.preference() ? "preference\n" + config.chosen + "\n" + config.rejected
                            : config.format,
        config.field,
        config.prompt,
        config.response,
        config.turns,
        config.dtype,
        config.separator,
        std::string(config.strip ? "strip" : "keep"),
        std::to_string(config.max_documents),
        json(config.held_out).dump(),
        config.part,
        std::to_string(marks.bos.value_or(-1)),
        std::to_string(marks.end.value_or(-1))}) {
    hash.update(std::to_string(part.size()) + ":" + part);
  }
  return hash.hex();
}

}  // namespace sterna::data
