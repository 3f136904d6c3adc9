#include <ostream>

#include <nlohmann/json.hpp>

#include "trainer/cli/checkpoint.h"
#include "trainer/io/atomic_file.h"
#include "trainer/io/json.h"
#include "trainer/text/tokenizer.h"

namespace sterna::cli {
namespace {

using nlohmann::json;

constexpr int kShown = 3;  ///< differences that are printed

/// Prints the first cases that fail and counts all of them.
class CaseCheck {
 public:
  CaseCheck(const text::Tokenizer& tokenizer, std::ostream& out)
      : tokenizer_(tokenizer), out_(out) {}

  void check(const json& one, size_t number) {
    const auto text = one.at("text").get<std::string>();
    const auto ids = one.at("ids").get<std::vector<int32_t>>();
    const std::vector<int32_t> found = tokenizer_.encode(text);
    bool right = true;
    if (found != ids) {
      right = false;
      differ(number, text, "ids", json(ids).dump(), json(found).dump());
    }
    const std::string decoded = tokenizer_.decode(ids);
    if (one.contains("decoded") && one.at("decoded") != decoded) {
      right = false;
      differ(number, text, "decoded", one.at("decoded").dump(), json(decoded).dump());
    }
    wrong_ += right ? 0 : 1;
  }

  int wrong() const { return wrong_; }

 private:
  void differ(size_t number,
              const std::string& text,
              const char* what,
              const std::string& expected,
              const std::string& found) {
    if (++differences_ <= kShown) {
      out_ << "case " << number << ": " << json(text).dump() << "\n  " << what << " expected "
           << expected << "\n  " << what << " found    " << found << "\n";
    }
  }

  const text::Tokenizer& tokenizer_;
  std::ostream& out_;
  int wrong_ = 0;
  int differences_ = 0;
};

int check_cases(const text::Tokenizer& tokenizer, const std::string& file, std::ostream& out) {
  const json root = io::read_json(file);
  try {
    const json& cases = root.at("cases");
    if (cases.empty())
      throw recipes::UserError(file + ": 'cases' is empty; nothing was checked");
    CaseCheck check(tokenizer, out);
    for (size_t i = 0; i < cases.size(); ++i) {
      check.check(cases[i], i);
    }
    out << cases.size() - static_cast<size_t>(check.wrong()) << " of " << cases.size()
        << " cases agree\n";
    return check.wrong() == 0 ? kDone : kAnswerIsNo;
  } catch (const json::exception& error) {
    throw recipes::UserError(
        file + ": expected {\"cases\": [{\"text\", \"ids\", \"decoded\"}, ...]}: " + error.what());
  }
}

/// A run uses the tokenizer of the checkpoint that it started from.
std::filesystem::path tokenizer_of(const std::filesystem::path& path, Streams streams) {
  const bool of_run = std::filesystem::exists(path / "recipe.toml") ||
                      std::filesystem::exists(path / "manifest.json");
  return of_run ? open_checkpoint(path, streams).tokenizer_path : path;
}

int run(const Invocation& typed, Streams streams) {
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
      "PATH is a checkpoint, a tokenizer.json, a SentencePiece .model or a GGUF file. Ids are\n"
      "printed as one JSON list, without start or end tokens. A file of cases is\n"
      "{\"cases\": [{\"text\": ..., \"ids\": [...], \"decoded\": ...}]}; exit code 1 and the "
      "first\n"
      "differences where a case does not agree.";
  command.example = "tokenize tests/golden/tokenizers/llama3.json --text 'The tern flies.'";
  command.paths = {1, 1};
  command.overrides = false;
  command.flags = {{"text", "T", "text to tokenize"},
                   {"file", "F", "file of text to tokenize"},
                   {"cases", "FILE.json", "cases to check, ids and decoded text"}};
  command.run = run;
  return command;
}

}  // namespace sterna::cli
