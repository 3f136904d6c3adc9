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
#include "trainer/model/same_tokens.h"
#include "trainer/run/signals.h"

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
  wanted.vocab = std::min<int64_t>(tokenizer.vocab_size(), info.config.vocab);
  for (int32_t id = 0; id < wanted.vocab; ++id)
    if (!tokenizer.is_special(id))
      wanted.first.push_back(id);
  return wanted;
}

/// @return  false where a signal came first: what is complete is kept
bool until_stopped(Streams streams, const std::function<void()>& work) {
  const run::SignalWatch watch;
  try {
    work();
    return true;
  } catch (const run::Interrupted& signal) {
    streams.err << signal.what() << ": what is complete is written\n";
    return false;
  }
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

std::string key_of(const Invocation& typed) {
  return typed.text("as", "response");
}

/// All of them before the first is answered, which takes long.
void require_prompts(const data::DocumentOptions& options, const std::string& key) {
  data::for_each_record(options, [&](const nlohmann::json& record) {
    const auto prompt = record.find("prompt");
    if (prompt == record.end() || !prompt->is_string())
      throw recipes::UserError("the object has no text under \"prompt\"");
    if (record.contains(key))
      throw recipes::UserError("the object has a \"" + key + "\" already; choose another --as");
  });
}

/// Adds to a record what the checkpoint says to its prompt.
class Answerer {
 public:
  Answerer(const Invocation& typed, at::ScalarType dtype, Streams streams)
      : key_(key_of(typed)),
        chat_(typed.has("chat")),
        info_(open_checkpoint(typed.paths.front(), streams)),
        tokenizer_(model::open_tokenizer(info_)),
        model_(load_ready(info_, dtype, read_weight_form(typed, model::WeightForm::kPacked))) {
    tell_decoded(*model_.report, streams);
  }

  const std::string& key() const { return key_; }

  std::string line(nlohmann::json record, const eval::Sampling& sampling) const {
    const auto ids = eval::prompt_ids(*tokenizer_, record.at("prompt").get<std::string>(), chat_);
    record[key_] = eval::continue_prompt(model_.decoder, *tokenizer_, ids, sampling).text;
    return record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  }

 private:
  std::string key_;
  bool chat_;
  model::CheckpointInfo info_;
  std::unique_ptr<text::Tokenizer> tokenizer_;
  model::AnsweringModel model_;
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
  const auto tokenizer = model::open_tokenizer(info);
  const eval::SelfGeneration wanted = read_self_generation(typed, info, *tokenizer);
  TokenFile file(target, *tokenizer);
  const auto loaded = load_ready(info, dtype, read_weight_form(typed, model::WeightForm::kPacked));
  tell_decoded(*loaded.report, streams);
  const auto start = steady_clock::now();
  int64_t done = 0;
  const bool whole = until_stopped(streams, [&] {
    eval::self_generate(loaded.decoder, wanted, [&](std::span<const int32_t> ids) {
      file.add(ids);
      if (++done % 100 == 0)
        streams.err << done << " of " << wanted.sequences << " sequences\n";
      run::SignalWatch::check();
    });
  });
  file.commit();
  const double seconds = duration<double>(steady_clock::now() - start).count();
  streams.out << target.string() << ": " << done << " sequences, " << file.tokens()
              << " tokens; to train on them:\n[data]\ntext = \"" << target.string()
              << "\"\nformat = \"tokens\"\ndtype = \"" << file.dtype() << "\"\n";
  streams.err << std::setprecision(3) << static_cast<double>(file.tokens()) / seconds
              << " tokens/s\n";
  return whole ? kDone : kStoppedEarly;
}

int write_answers(const Invocation& typed,
                  const eval::Sampling& sampling,
                  at::ScalarType dtype,
                  Streams streams) {
  const std::filesystem::path target = new_file(typed);
  data::DocumentOptions options;
  options.files = {typed.text("prompts")};
  require_prompts(options, key_of(typed));
  const Answerer answerer(typed, dtype, streams);
  io::AtomicFile file(target);
  int64_t done = 0;
  const bool whole = until_stopped(streams, [&] {
    data::for_each_record(options, [&](const nlohmann::json& record) {
      const std::string line = answerer.line(record, sampling);
      file.write(std::as_bytes(std::span(line)));
      if (++done % 100 == 0)
        streams.err << done << " prompts\n";
      run::SignalWatch::check();
    });
  });
  file.commit();
  streams.out << target.string() << ": " << done << " prompts, answered under \"" << answerer.key()
              << "\"\n";
  return whole ? kDone : kStoppedEarly;
}

}  // namespace sterna::cli
