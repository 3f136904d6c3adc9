#include <ostream>

#include <nlohmann/json.hpp>

#include "trainer/cli/checkpoint.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/text/surround.h"
#include "trainer/text/tokenizer.h"

namespace sterna::cli {
namespace {

using nlohmann::json;

constexpr int kShown = 3;  ///< differences that are printed

/// Prints the first cases that fail and counts all of them.
class CaseCheck {
 public:
  CaseCheck(const text::Tokenizer& tokenizer, std::optional<int64_t> max_length, std::ostream& out)
      : tokenizer_(tokenizer), max_length_(max_length), out_(out) {}

  void check(const json& one, size_t number) {
    const int before = differences_;
    if (one.contains("a")) {
      check_pair(one, number);
    } else {
      check_text(one, number);
    }
    wrong_ += differences_ > before ? 1 : 0;
  }

  int wrong() const { return wrong_; }

 private:
  void check_text(const json& one, size_t number) {
    const json& text = one.at("text");
    const auto ids = one.at("ids").get<std::vector<int32_t>>();
    compare(number, text, "ids", ids, tokenizer_.encode(text.get<std::string>()));
    if (one.contains("decoded"))
      compare(number, text, "decoded", one.at("decoded"), tokenizer_.decode(ids));
  }

  void check_pair(const json& one, size_t number) {
    const auto a = one.at("a").get<std::string>();
    const std::string b = one.value("b", "");
    const auto second = one.contains("b") ? std::optional<std::string_view>(b) : std::nullopt;
    const text::Encoding found = text::encode_surrounded(tokenizer_, a, second, max_length_);
    const json shown = {one.at("a"), one.value("b", json())};
    compare(number, shown, "ids", one.at("ids"), found.ids);
    if (one.contains("type_ids"))
      compare(number, shown, "type_ids", one.at("type_ids"), found.type_ids);
  }

  void compare(
      size_t number, const json& text, const char* what, const json& expected, const json& found) {
    if (expected == found)
      return;
    if (++differences_ <= kShown) {
      out_ << "case " << number << ": " << text.dump() << "\n  " << what << " expected "
           << expected.dump() << "\n  " << what << " found    " << found.dump() << "\n";
    }
  }

  const text::Tokenizer& tokenizer_;
  std::optional<int64_t> max_length_;
  std::ostream& out_;
  int wrong_ = 0;
  int differences_ = 0;
};

/// The length that pairs are cut to. Where the file does not say, no case is longer than it, and
/// one that was cut is as long.
std::optional<int64_t> max_length(const json& root) {
  if (root.contains("max_length"))
    return root.at("max_length").get<int64_t>();
  std::optional<int64_t> longest;
  for (const json& one : root.at("cases")) {
    if (one.contains("b"))
      longest = std::max(longest.value_or(0), std::ssize(one.at("ids")));
  }
  return longest;
}

int check_cases(const text::Tokenizer& tokenizer, const std::string& file, std::ostream& out) {
  const json root = io::read_json(file);
  try {
    const json& cases = root.at("cases");
    if (cases.empty())
      throw recipes::UserError(file + ": 'cases' is empty; nothing was checked");
    CaseCheck check(tokenizer, max_length(root), out);
    for (size_t i = 0; i < cases.size(); ++i) {
      check.check(cases[i], i);
    }
    out << cases.size() - static_cast<size_t>(check.wrong()) << " of " << cases.size()
        << " cases agree\n";
    return check.wrong() == 0 ? kDone : kAnswerIsNo;
  } catch (const json::exception& error) {
    throw recipes::UserError(file +
                             ": expected {\"cases\": [{\"text\", \"ids\", \"decoded\"}, ...]}, or "
                             "\"a\", \"b\", \"ids\" and "
                             "\"type_ids\" for pairs: " +
                             error.what());
  }
}

/// A run uses the tokenizer of the checkpoint that it started from.
std::filesystem::path tokenizer_of(const std::filesystem::path& path, Streams streams) {
  const bool of_run = std::filesystem::exists(path / "recipe.toml") ||
                      std::filesystem::exists(path / "manifest.json");
  return of_run ? open_checkpoint(path, streams).tokenizer_path : path;
}

int run_tokenize(const Invocation& typed, Streams streams) {
  if (typed.has("file") + typed.has("text") + typed.has("cases") != 1) {
    throw recipes::UserError("tokenize: give one of --file, --text and --cases");
  }
  const auto tokenizer = text::open_tokenizer(tokenizer_of(typed.paths.front(), streams));
  if (typed.has("cases")) {
    return check_cases(*tokenizer, typed.text("cases"), streams.out);
  }
  const std::string text =
      typed.has("file") ? io::read_text(typed.text("file")) : typed.text("text");
  streams.out << json(tokenizer->encode(text)).dump() << "\n";
  return kDone;
}

}  // namespace

Command tokenize_command() {
  Command command;
  command.name = "tokenize";
  command.usage = "PATH (--text T | --file F | --cases FILE.json)";
  command.summary = "turns text into ids, or checks a tokenizer against known cases";
  command.details =
      "PATH is a checkpoint, a tokenizer.json, a SentencePiece .model, a GGUF file or a folder of\n"
      "vocabulary files (vocab.json and merges.txt, or vocab.txt). Ids are printed as one JSON "
      "list,\n"
      "without start or end tokens. A file of cases is\n"
      "{\"cases\": [{\"text\": ..., \"ids\": [...], \"decoded\": ...}]}, or for pairs, with "
      "special\n"
      "tokens and cut to the file's \"max_length\",\n"
      "{\"cases\": [{\"a\": ..., \"b\": ..., \"ids\": [...], \"type_ids\": [...]}]}; exit code 1 "
      "and the\n"
      "first differences where a case does not agree.";
  command.example = "tokenize tests/golden/tokenizers/llama3.json --text 'The tern flies.'";
  command.paths = {1, 1};
  command.overrides = false;
  command.flags = {{"text", "T", "text to tokenize"},
                   {"file", "F", "file of text to tokenize"},
                   {"cases", "FILE.json", "cases to check, ids and decoded text"}};
  command.run = run_tokenize;
  return command;
}

}  // namespace sterna::cli
