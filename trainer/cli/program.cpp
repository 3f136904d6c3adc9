#include <new>
#include <ostream>

#include <c10/util/Exception.h>

#include "kernels/cpu.h"
#include "recipes/suggest.h"
#include "recipes/version.h"
#include "trainer/cli/invocation.h"
#include "trainer/cli/threads.h"

namespace sterna::cli {
namespace {

using recipes::UserError;

const Command& find_command(const std::string& verb) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    if (command.name == verb)
      return command;
    names.push_back(command.name);
  }
  const std::string near = recipes::did_you_mean(verb, names);
  throw UserError("sterna: no verb '" + verb + "'" + (near.empty() ? "; see sterna --help" : near));
}

std::string out_of_memory_text(const Command& command, const std::string& complaint) {
  const std::string hint = command.memory_hint.empty()
                               ? "Close other programs, or use a machine with more memory."
                               : command.memory_hint;
  return "sterna " + command.name + ": out of memory. " + hint + "\n" + complaint;
}

// The CPU allocator has no exception type of its own.
bool is_lack_of_memory(const c10::Error& error) {
  const std::string what = error.what_without_backtrace();
  return what.find("allocate memory") != std::string::npos ||
         what.find("enough memory") != std::string::npos ||
         what.find("out of memory") != std::string::npos;
}

int run_command(const Command& command, const Invocation& typed, Streams streams) {
  try {
    return command.run(typed, streams);
  } catch (const c10::Error& error) {
    if (!is_lack_of_memory(error))
      throw;
    throw UserError(out_of_memory_text(command, error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    throw UserError(out_of_memory_text(command, "the system gave no more memory"));
  }
}

int dispatch(const std::vector<std::string>& arguments, Streams streams) {
  const std::string program = arguments.empty() ? "sterna" : arguments.front();
  if (arguments.size() < 2) {
    streams.err << help_text(program);
    return kUserError;
  }
  const std::string& verb = arguments[1];
  if (verb == "--help" || verb == "-h" || verb == "help") {
    streams.out << help_text(program);
    return kDone;
  }
  if (verb == "--version") {
    streams.out << "sterna " << recipes::version() << "\n";
    return kDone;
  }
  const Command& command = find_command(verb);
  const Invocation typed = parse_invocation(command, {arguments.begin() + 2, arguments.end()});
  if (typed.has("help")) {
    streams.out << help_text(command, program);
    return kDone;
  }
  if (const std::string problem = kernels::forced_level_problem(); !problem.empty())
    throw UserError(problem);
  use_threads(0);
  return run_command(command, typed, streams);
}

bool is_verbose(const std::vector<std::string>& arguments) {
  return std::find(arguments.begin(), arguments.end(), "--verbose") != arguments.end();
}

int our_fault(const std::string& why, Streams streams) {
  streams.err << "sterna: error of the program: " << why << "\n";
  return kOurFault;
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, Streams streams) {
  try {
    return dispatch(arguments, streams);
  } catch (const UserError& error) {
    streams.err << "error: " << error.what() << "\n";
    return kUserError;
  } catch (const std::filesystem::filesystem_error& error) {
    streams.err << "error: " << error.what() << "; is the path writable, and is there space?\n";
    return kUserError;
  } catch (const c10::Error& error) {
    if (is_verbose(arguments))
      return our_fault(error.what(), streams);
    return our_fault(std::string(error.what_without_backtrace()) + "\n(--verbose adds the trace)",
                     streams);
  } catch (const std::exception& error) {
    return our_fault(error.what(), streams);
  } catch (...) {
    return our_fault("an exception of unknown type", streams);
  }
}

}  // namespace sterna::cli
