#include "trainer/cli/generate_files.h"

#include <chrono>
#include <iomanip>
#include <optional>
#include <ostream>

#include <nlohmann/json.hpp>

#include "trainer/cli/checkpoint.h"
#include "trainer/data/documents.h"
#include "trainer/eval/continue.h"
#include "trainer/eval/self_generate.h"
#include "trainer/io/atomic_file.h"

namespace sterna::cli {
namespace {

std::filesystem::path new_file(const Invocation& typed) {
  if (!typed.has("out"))
    throw recipes::UserError("generate: --prompts and --sequences write a file: give --out FILE");
  const std::filesystem::path target = typed.text("out");
  if (std::filesystem::exists(target))
    throw recipes::UserError(target.string() +
                             ": exists already; choose another name or remove it");
  return target;
}

eval::SelfGeneration read_self_generation(const Invocation& typed,
                                          const model::CheckpointInfo& info,
                                          const text::Tokenizer& tokenizer) {
  eval::SelfGeneration wanted;
  wanted.sequences = typed.integer("sequences", 0, {1, int64_t{1} << 40});
  wanted.length = typed.integer("max-new", 512, {2, int64_t{1} << 30});
  wanted.temperature = typed.number("temperature", 1, {0.0, 100.0});
  wanted.seed = typed.integer("seed", 0, {0, INT64_MAX});
  wanted.stop = eval::end_tokens(info.config, tokenizer);
  if (wanted.length > info.config.max_positions)
    throw recipes::UserError("--max-new: sequences of " + std::to_string(wanted.length) +
                             " tokens, but the model takes " +
                             std::to_string(info.config.max_positions));
  for (int32_t id = 0; id < std::min(tokenizer.vocab_size(), info.config.vocab); ++id)
    if (!tokenizer.is_special(id))
      wanted.first.push_back(id);
  return wanted;
}

/// A file of ids for data.format = "tokens".
class TokenFile {
 public:
  TokenFile(const std::filesystem::path& path, const text::Tokenizer& tokenizer)
      : file_(path),
        width_(tokenizer.vocab_size() <= 65536 ? 2 : 4),
        end_(tokenizer.special().eos) {}

  /// Documents are told apart by the end token behind them.
  void add(std::span<const int32_t> ids) {
    std::string bytes;
    for (const int32_t id : ids)
      append(id, bytes);
    if (end_ && ids.back() != *end_)
      append(*end_, bytes);
    file_.write(std::as_bytes(std::span(bytes)));
  }

  void commit() { file_.commit(); }
  const char* dtype() const { return width_ == 2 ? "uint16" : "uint32"; }
  int64_t tokens() const { return tokens_; }

 private:
  // Little-endian, as the machine: the low bytes of an id come first.
  void append(int32_t id, std::string& bytes) {
    bytes.append(reinterpret_cast<const char*>(&id), width_);
    ++tokens_;
  }

  io::AtomicFile file_;
  size_t width_;
  std::optional<int32_t> end_;
  int64_t tokens_ = 0;
};

/// Adds to a record what the checkpoint says to its prompt.
class Answerer {
 public:
  Answerer(const Invocation& typed, at::ScalarType dtype, Streams streams)
      : key_(typed.text("as", "response")),
        chat_(typed.has("chat")),
        info_(open_checkpoint(typed.paths.front(), streams)),
        tokenizer_(text::open_tokenizer(info_.tokenizer_path)),
        decoder_(model::load_decoder(info_, dtype)) {}

  const std::string& key() const { return key_; }

  std::string line(nlohmann::json record, const eval::Sampling& sampling) const {
    const auto prompt = record.find("prompt");
    if (prompt == record.end() || !prompt->is_string())
      throw recipes::UserError("the object has no text under \"prompt\"");
    if (record.contains(key_))
      throw recipes::UserError("the object has a \"" + key_ + "\" already; choose another --as");
    const auto ids = eval::prompt_ids(*tokenizer_, prompt->get<std::string>(), chat_);
    record[key_] = eval::continue_prompt(decoder_, *tokenizer_, ids, sampling).text;
    return record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }

 private:
  std::string key_;
  bool chat_;
  model::CheckpointInfo info_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  model::Decoder decoder_;
};

}  // namespace

int write_sequences(const Invocation& typed, at::ScalarType dtype, Streams streams) {
  using std::chrono::duration;
  using std::chrono::steady_clock;
  for (const char* other : {"chat", "as", "top-p"})
    if (typed.has(other))
      throw recipes::UserError(std::string("generate: --sequences begins by itself and samples "
                                           "among all tokens; leave out --") +
                               other);
  const std::filesystem::path target = new_file(typed);
  const model::CheckpointInfo info = open_checkpoint(typed.paths.front(), streams);
  const auto tokenizer = text::open_tokenizer(info.tokenizer_path);
  const eval::SelfGeneration wanted = read_self_generation(typed, info, *tokenizer);
  TokenFile file(target, *tokenizer);
  const model::Decoder decoder = model::load_decoder(info, dtype);
  const auto start = steady_clock::now();
  int64_t done = 0;
  eval::self_generate(decoder, wanted, [&](std::span<const int32_t> ids) {
    file.add(ids);
    if (++done % 100 == 0)
      streams.err << done << " of " << wanted.sequences << " sequences\n";
  });
  file.commit();
  const double seconds = duration<double>(steady_clock::now() - start).count();
  streams.out << target.string() << ": " << done << " sequences, " << file.tokens()
              << " tokens; to train on them:\n[data]\ntext = \"" << target.string()
              << "\"\nformat = \"tokens\"\ndtype = \"" << file.dtype() << "\"\n";
  streams.err << std::setprecision(3) << static_cast<double>(file.tokens()) / seconds
              << " tokens/s\n";
  return kDone;
}

int write_answers(const Invocation& typed,
                  const eval::Sampling& sampling,
                  at::ScalarType dtype,
                  Streams streams) {
  const std::filesystem::path target = new_file(typed);
  const Answerer answerer(typed, dtype, streams);
  io::AtomicFile file(target);
  data::DocumentOptions options;
  options.files = {typed.text("prompts")};
  int64_t done = 0;
  data::for_each_record(options, [&](const nlohmann::json& record) {
    const std::string line = answerer.line(record, sampling);
    file.write(std::as_bytes(std::span(line)));
    if (++done % 100 == 0)
      streams.err << done << " prompts\n";
  });
  file.commit();
  streams.out << target.string() << ": " << done << " prompts, answered under \"" << answerer.key()
              << "\"\n";
  return kDone;
}

}  // namespace sterna::cli
