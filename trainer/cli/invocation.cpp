#include "trainer/cli/invocation.h"

#include <charconv>

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/value_semantic.hpp>

#include "recipes/suggest.h"
#include "trainer/cli/threads.h"
#include "trainer/run/config.h"

namespace sterna::cli {
namespace {

namespace po = boost::program_options;
using recipes::UserError;

/// Positional arguments need a name in Boost's grammar; nobody can type this one.
constexpr const char* kArgument = "\x01";

po::options_description grammar(const Command& command) {
  po::options_description options;
  auto add = [&](const Flag& flag) {
    if (flag.value.empty())
      options.add_options()(flag.name.c_str(), "");
    else
      options.add_options()(flag.name.c_str(), po::value<std::string>(), "");
  };
  for (const Flag& flag : command.flags)
    add(flag);
  for (const Flag& flag : common_flags())
    add(flag);
  options.add_options()(kArgument, po::value<std::vector<std::string>>(), "");
  return options;
}

std::vector<std::string> flag_names(const Command& command) {
  std::vector<std::string> names;
  for (const Flag& flag : command.flags)
    names.push_back("--" + flag.name);
  for (const Flag& flag : common_flags())
    names.push_back("--" + flag.name);
  return names;
}

[[noreturn]] void fail(const Command& command, const std::string& why) {
  throw UserError("sterna " + command.name + ": " + why + "; see sterna " + command.name +
                  " --help");
}

/// Boost refuses "--flag=" but takes the empty text as an argument of its own.
std::vector<std::string> with_empty_values_apart(const std::vector<std::string>& arguments) {
  std::vector<std::string> apart;
  for (const std::string& argument : arguments) {
    const bool empty = argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    apart.push_back(empty ? argument.substr(0, argument.size() - 1) : argument);
    if (empty)
      apart.emplace_back();
  }
  return apart;
}

po::parsed_options parse(const Command& command,
                         const po::options_description& options,
                         const std::vector<std::string>& arguments) {
  po::positional_options_description positional;
  positional.add(kArgument, -1);
  // No guessing: an abbreviation that works today breaks when a flag is added.
  const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing &
                    ~po::command_line_style::allow_short;
  try {
    return po::command_line_parser(with_empty_values_apart(arguments))
        .options(options)
        .positional(positional)
        .style(style)
        .run();
  } catch (const po::unknown_option& error) {
    const std::string flag = error.get_option_name();
    fail(command, "no flag '" + flag + "'" + recipes::did_you_mean(flag, flag_names(command)));
  } catch (const po::error& error) {
    fail(command, error.what());
  }
}

void add_argument(const Command& command, const std::string& argument, Invocation& typed) {
  if (argument == "-h")
    typed.flags.emplace("help", "");
  else if (argument.empty())
    fail(command, "an argument is empty");
  else if (argument.starts_with('-'))
    fail(command, "no flag '" + argument + "'; flags begin with two dashes");
  else if (argument.find('=') != std::string::npos)
    typed.overrides.push_back(argument);
  else if (argument.ends_with(".toml"))
    typed.recipes.emplace_back(argument);
  else
    typed.paths.emplace_back(argument);
}

void check_arity(const Command& command, const char* what, size_t found, Arity arity) {
  if (found >= arity.least && found <= arity.most)
    return;
  const std::string wanted =
      arity.least == arity.most ? std::to_string(arity.least)
                                : std::to_string(arity.least) + " to " + std::to_string(arity.most);
  fail(command,
       "expected " + (arity.most == 0 ? std::string("no") : wanted) + " " + what + ", found " +
           std::to_string(found));
}

template <typename T>
T number_of(const Invocation& typed, std::string_view flag, T fallback, recipes::Range<T> range) {
  if (!typed.has(flag))
    return fallback;
  const std::string text = typed.text(flag);
  const char* end = text.data() + text.size();
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !(value >= range.lo && value <= range.hi))
    throw UserError("--" + std::string(flag) + ": expected a number from " +
                    recipes::Section::to_text(range.lo) + " to " +
                    recipes::Section::to_text(range.hi) + ", found '" + text + "'");
  return value;
}

std::string aligned(const std::vector<std::pair<std::string, std::string>>& rows) {
  size_t width = 0;
  for (const auto& [left, right] : rows)
    width = std::max(width, left.size());
  std::string text;
  for (const auto& [left, right] : rows)
    text += "  " + left + std::string(width - left.size() + 3, ' ') + right + "\n";
  return text;
}

}  // namespace

const std::vector<Flag>& common_flags() {
  static const std::vector<Flag> flags{
      {"help", "", "prints this text"},
      {"verbose", "", "adds the call trace to an error of the program itself"},
  };
  return flags;
}

std::string Invocation::text(std::string_view flag, std::string_view fallback) const {
  const auto it = flags.find(flag);
  return it == flags.end() ? std::string(fallback) : it->second;
}

int64_t Invocation::integer(std::string_view flag,
                            int64_t fallback,
                            recipes::Range<int64_t> range) const {
  return number_of(*this, flag, fallback, range);
}

double Invocation::number(std::string_view flag,
                          double fallback,
                          recipes::Range<double> range) const {
  return number_of(*this, flag, fallback, range);
}

Invocation parse_invocation(const Command& command, const std::vector<std::string>& arguments) {
  const po::options_description options = grammar(command);
  Invocation typed;
  for (const po::option& option : parse(command, options, arguments).options) {
    if (option.string_key == kArgument) {
      for (const std::string& argument : option.value)
        add_argument(command, argument, typed);
    } else if (!typed.flags
                    .emplace(option.string_key, option.value.empty() ? "" : option.value.front())
                    .second) {
      fail(command, "--" + option.string_key + " given twice");
    }
  }
  if (typed.has("help"))
    return typed;
  check_arity(command, "recipes (*.toml)", typed.recipes.size(), command.recipes);
  check_arity(command, "paths", typed.paths.size(), command.paths);
  if (!command.overrides && !typed.overrides.empty())
    fail(command, "takes no key=value, found '" + typed.overrides.front() + "'");
  return typed;
}

std::string help_text(const Command& command, const std::string& program) {
  std::string text = "usage: " + program + " " + command.name + " " + command.usage;
  std::vector<std::pair<std::string, std::string>> rows;
  auto add = [&](const Flag& flag) {
    rows.emplace_back("--" + flag.name + (flag.value.empty() ? "" : " " + flag.value), flag.help);
  };
  for (const Flag& flag : command.flags)
    add(flag);
  for (const Flag& flag : common_flags())
    add(flag);
  text += " [--flags]\n\n" + command.name + ": " + command.summary + "\n";
  if (!command.details.empty())
    text += "\n" + command.details + "\n";
  return text + "\n" + aligned(rows) + "\nexample:\n  " + program + " " + command.example + "\n";
}

std::string help_text(const std::string& program) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Command& command : commands())
    rows.emplace_back(command.name, command.summary);
  return "usage: " + program +
         " VERB ARGUMENTS... [--flags] [key=value]...\n\n"
         "Low-bit quantization-aware training and distillation: recipe -> train -> export ->\n"
         "verify -> evaluate. An argument with '=' overrides a key of the recipe, one that ends\n"
         "in .toml is a recipe, any other is a path.\n\n" +
         aligned(rows) + "\n" + program + " VERB --help says more; " + program +
         " --version says which this is.\n";
}

recipes::Recipe open_recipe(const Invocation& typed, recipes::Recipe base) {
  for (const std::filesystem::path& path : typed.recipes)
    base.overlay(recipes::Recipe::load(path));
  for (const std::string& assignment : typed.overrides)
    base.set(assignment);
  int64_t threads = 0;
  base.section("train")("threads", threads, "", recipes::Range{int64_t{0}, run::kMostThreads});
  use_threads(threads);
  return base;
}

}  // namespace sterna::cli
