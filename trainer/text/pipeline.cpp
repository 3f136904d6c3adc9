#include "trainer/text/pipeline.h"

#include "trainer/text/utf8.h"

namespace sterna::text {
namespace {

std::unique_ptr<WordModel> make_model(const Vocabulary& vocabulary, PipelineParts& parts) {
  if (parts.word_piece)
    return std::make_unique<WordPiece>(vocabulary, std::move(*parts.word_piece));
  if (parts.scores.empty())
    return std::make_unique<Bpe>(vocabulary, parts.merges, std::move(parts.bpe));
  return std::make_unique<Bpe>(vocabulary, parts.scores, std::move(parts.bpe));
}

AddedTokens select(const std::vector<AddedToken>& added, bool normalized, const Normalizer* rule) {
  std::vector<AddedToken> chosen;
  for (AddedToken token : added) {
    if (token.normalized == normalized) {
      if (normalized && rule != nullptr) {
        token.content = rule->apply(std::move(token.content));
      }
      chosen.push_back(std::move(token));
    }
  }
  return AddedTokens(chosen);
}

}  // namespace

/// One call of encode.
class Pipeline::Run final : public PieceSink {
 public:
  Run(const Pipeline& owner, WordModel::Scratch& scratch) : owner_(owner), scratch_(scratch) {}

  void text(std::string_view whole) {
    ids.reserve(whole.size() / 3);
    owner_.raw_added_.split(
        whole,
        [&](size_t begin, size_t end) { raw_part(whole.substr(begin, end - begin), begin == 0); },
        [&](int32_t id) { ids.push_back(id); });
  }

  void take(Piece piece) override { owner_.model_->encode(piece.text, scratch_, ids); }

  std::vector<int32_t> ids;

 private:
  void raw_part(std::string_view part, bool start) {
    if (owner_.normalizer_ == nullptr) {
      normalized_part(part, start);
    } else {
      normalized_part(owner_.normalizer_->apply(std::string(part)), start);
    }
  }

  void normalized_part(std::string_view part, bool start) {
    owner_.normalized_added_.split(
        part,
        [&](size_t begin, size_t end) {
          pre_tokenize({part.substr(begin, end - begin), start && begin == 0});
        },
        [&](int32_t id) { ids.push_back(id); });
  }

  void pre_tokenize(Piece piece) {
    if (piece.text.empty()) {
      return;  // nothing is ever put in front of an empty text
    }
    if (owner_.pre_tokenizer_ == nullptr) {
      take(piece);
    } else {
      owner_.pre_tokenizer_->split(piece, *this);
    }
  }

  const Pipeline& owner_;
  WordModel::Scratch& scratch_;
};

Pipeline::Pipeline(PipelineParts parts)
    : normalizer_(std::move(parts.normalizer)),
      pre_tokenizer_(std::move(parts.pre_tokenizer.first)),
      decoder_(std::move(parts.decoder)),
      vocabulary_(std::move(parts.pieces)),
      model_(make_model(vocabulary_, parts)),
      raw_added_(select(parts.added, false, nullptr)),
      normalized_added_(select(parts.added, true, normalizer_.get())),
      fingerprint_(std::move(parts.fingerprint)) {
  for (int32_t id = 0; id < vocabulary_.size(); ++id) {
    all_pieces_.push_back(vocabulary_.piece(id));
  }
  for (const AddedToken& token : parts.added) {
    const auto slot = static_cast<size_t>(token.id);
    all_pieces_.resize(std::max(all_pieces_.size(), slot + 1));
    all_pieces_[slot] = token.content;
    added_ids_.emplace(token.content, token.id);
    if (token.special)
      special_ids_.insert(token.id);
  }
}

std::vector<int32_t> Pipeline::encode(std::string_view text) const {
  std::unique_ptr<WordModel::Scratch> scratch = take_scratch();
  Run run(*this, *scratch);
  if (is_utf8(text)) {
    run.text(text);
  } else {
    run.text(replace_invalid(text));
  }
  give_back(std::move(scratch));
  return std::move(run.ids);
}

std::string Pipeline::decode(std::span<const int32_t> ids) const {
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (const int32_t id : ids) {
    if (std::string one = piece(id); !one.empty()) {
      pieces.push_back(std::move(one));
    }
  }
  std::string text;
  for (const std::string& part : decoder_->apply(std::move(pieces))) {
    text += part;
  }
  return text;
}

std::string Pipeline::piece(int32_t id) const {
  return id >= 0 && id < vocab_size() ? all_pieces_[static_cast<size_t>(id)] : std::string();
}

std::optional<int32_t> Pipeline::find(std::string_view piece) const {
  const auto added = added_ids_.find(std::string(piece));
  return added != added_ids_.end() ? std::optional(added->second) : vocabulary_.find(piece);
}

std::unique_ptr<WordModel::Scratch> Pipeline::take_scratch() const {
  const std::lock_guard lock(mutex_);
  if (idle_.empty()) {
    return std::make_unique<WordModel::Scratch>();
  }
  std::unique_ptr<WordModel::Scratch> scratch = std::move(idle_.back());
  idle_.pop_back();
  return scratch;
}

void Pipeline::give_back(std::unique_ptr<WordModel::Scratch> scratch) const {
  const std::lock_guard lock(mutex_);
  idle_.push_back(std::move(scratch));
}

}  // namespace sterna::text
