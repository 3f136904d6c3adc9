#pragma once

#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "recipes/recipe.h"

namespace sterna::cli {

/// Exit codes of every verb. A UserError that leaves a verb becomes kUserError, and so does a lack
/// of memory; anything else thrown becomes kOurFault. A signal that `train` does not wait for (the
/// second SIGINT or SIGTERM, any SIGKILL) ends the process with 128 + its number: 130, 143, 137.
inline constexpr int kDone = 0;
inline constexpr int kAnswerIsNo = 1;  ///< it ran, and the answer is no: verify, tokenize --cases
inline constexpr int kUserError = 2;
inline constexpr int kStoppedEarly = 3;  ///< by a signal, with the checkpoint saved
inline constexpr int kOurFault = 70;

/// A `--name` that a verb takes. What changes a result belongs in the recipe; flags say what to
/// print and where to.
struct Flag {
  std::string name;   ///< "json", without dashes
  std::string value;  ///< placeholder of its value, "FILE"; empty for a switch
  std::string help;
};

/// How many arguments of one kind a verb takes.
struct Arity {
  size_t least = 0;
  size_t most = 0;
};

/// What was typed behind the verb, sorted: an argument that holds `=` is an override, one that
/// ends in .toml is a recipe, anything else is a path.
struct Invocation {
  std::vector<std::filesystem::path> paths;
  std::vector<std::filesystem::path> recipes;
  std::vector<std::string> overrides;
  std::map<std::string, std::string, std::less<>> flags;  ///< by name; switches hold ""

  bool has(std::string_view flag) const { return flags.find(flag) != flags.end(); }
  std::string text(std::string_view flag, std::string_view fallback = "") const;
  /// @throws UserError  where the flag's value is no such number or is out of range
  int64_t integer(std::string_view flag, int64_t fallback, recipes::Range<int64_t> range) const;
  double number(std::string_view flag, double fallback, recipes::Range<double> range) const;
};

/// Where a verb talks to: results go to `out`, progress and remarks to `err`.
struct Streams {
  std::ostream& out;
  std::ostream& err;
};

/// One verb of the program. To add one: a source file that defines `Command x_command()`, and the
/// two lines in commands.cpp.
struct Command {
  std::string name;
  std::string usage;    ///< arguments, "CHECKPOINT [key=value]..."
  std::string summary;  ///< one line for `sterna --help`
  std::string details;  ///< more for `sterna VERB --help`; may be empty
  std::string example;  ///< works as printed from the repository's root, "eval model.gguf ..."
  Arity paths;
  Arity recipes;
  bool overrides = true;
  std::vector<Flag> flags;
  std::string memory_hint;  ///< what to change where memory ran out; empty: another machine
  int (*run)(const Invocation& typed, Streams streams);
};

/// Every verb, in the order of `sterna --help`.
const std::vector<Command>& commands();

/// The recipe files on top of each other (later ones win), then the overrides; `base` (a run's
/// stored recipe) lies below them. Sets the number of threads (threads.h) where they name one.
recipes::Recipe open_recipe(const Invocation& typed, recipes::Recipe base = {});

/// Runs `program VERB ...` and gives its exit code; never throws.
/// @param arguments  as typed, the program's name first
int run_program(const std::vector<std::string>& arguments, Streams streams);

}  // namespace sterna::cli
